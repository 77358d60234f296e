//! Metrics against the spans of the same run.

use opentelemetry_sdk::metrics::InMemoryMetricExporter;
use std::collections::{BTreeMap, BTreeSet};
use throughline_test::{Graph, Measures};

/// Operation type, destination, and what it failed with.
type Key = (String, String, Option<String>);

/// Each operation on each destination that has spans was measured as often as spans tell of it, with the same
/// `error.type`. Where there are none, nothing was sampled.
pub(crate) fn check(graph: &Graph, exporter: &InMemoryMetricExporter) {
    let (spans, measures) = (of_spans(graph), of_metrics(&Measures::last(exporter)));
    let sampled: BTreeSet<_> = spans.keys().map(|(operation, name, _)| (operation, name)).collect();
    let measured: BTreeMap<_, _> =
        measures.iter().filter(|((operation, name, _), _)| sampled.contains(&(operation, name))).collect();
    assert_eq!(spans.iter().collect::<BTreeMap<_, _>>(), measured, "spans and metrics of a run");
}

fn of_spans(graph: &Graph) -> BTreeMap<Key, u64> {
    let mut counts = BTreeMap::new();
    for span in graph.spans() {
        let operation = span.text("messaging.operation.type").unwrap_or_default();
        let destination = span.text("messaging.destination.name");
        if let Some(destination) = destination.filter(|_| ["process", "send"].contains(&&*operation)) {
            *counts.entry((operation, destination, span.text("error.type"))).or_default() += 1;
        }
    }
    counts
}

fn of_metrics(measures: &Measures) -> BTreeMap<Key, u64> {
    let mut counts = BTreeMap::new();
    let sends = [("messaging.operation.type", "send")];
    for (operation, series) in [
        ("process", measures.with("messaging.process.duration", &[])),
        ("send", measures.with("messaging.client.operation.duration", &sends)),
    ] {
        for series in series {
            let text = |name| series.attribute(name).map(str::to_owned);
            let destination = text("messaging.destination.name").unwrap_or_default();
            let key = (operation.to_owned(), destination, text("error.type"));
            *counts.entry(key).or_default() += series.value as u64;
        }
    }
    counts
}
