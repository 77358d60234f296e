//! Where a scenario plays: telemetry of its own, workers, and the spans that come of them.

use crate::{LONG, Site, agreement, within};
use opentelemetry_sdk::{metrics::InMemoryMetricExporter, trace::InMemorySpanExporter};
use std::{fmt, ops::Range};
use throughline::{
    Message, Publisher, Redelivery, Runtime, Subscription, Telemetry, TelemetryBuilder, Worker, WorkerHandle,
};
use throughline_test::{Graph, Measures, conformance::Start};

/// Telemetry whose spans and metrics are kept, and a runtime whose workers trace with it. Nothing of it is global, so that
/// scenarios run side by side.
pub struct Stage<'a, B> {
    /// The broker.
    pub broker: &'a B,
    /// What publishers and workers trace with.
    pub telemetry: Telemetry,
    exporter: InMemorySpanExporter,
    /// Empty where the telemetry was made elsewhere.
    metrics: InMemoryMetricExporter,
    runtime: Option<Runtime>,
}

impl<'a, B: Site> Stage<'a, B> {
    /// With telemetry as it is by default.
    pub fn new(broker: &'a B) -> Self {
        Stage::with(broker, |builder| builder)
    }

    /// With telemetry that was changed.
    pub fn with(broker: &'a B, change: impl FnOnce(TelemetryBuilder) -> TelemetryBuilder) -> Self {
        let exporter = InMemorySpanExporter::default();
        let metrics = InMemoryMetricExporter::default();
        let builder = Telemetry::builder("test").exporter(exporter.clone()).metrics_exporter(metrics.clone());
        let telemetry = change(builder.global(false)).build().unwrap();
        Stage { metrics, ..Stage::of(broker, exporter, telemetry) }
    }

    /// With telemetry that was made elsewhere and exports there.
    pub fn of(broker: &'a B, exporter: InMemorySpanExporter, telemetry: Telemetry) -> Self {
        Stage { broker, telemetry, exporter, metrics: InMemoryMetricExporter::default(), runtime: None }
    }

    /// A new topic.
    pub async fn topic(&self, partitions: u32) -> String {
        let name = self.broker.fresh_name("scenario");
        within("a topic", self.broker.create_topic(&name, partitions)).await.unwrap();
        name
    }

    /// A publisher to this topic.
    pub fn publisher(&self, topic: &str) -> Publisher {
        Publisher::with_telemetry(self.broker.sink(topic), &self.telemetry)
    }

    /// Publishes these numbers, one after the other, so that each partition has them in order.
    pub async fn publish(&self, topic: &str, numbers: Range<u64>) {
        for receipt in self.publisher(topic).send_all(numbers.map(|n| Message::new(n.to_string()))).await {
            receipt.unwrap();
        }
    }

    /// The one subscription that scenarios have to a topic, by the group of [`group`](Self::group).
    pub fn subscription(&self, topic: &str) -> B::Subscription {
        self.broker.subscription(topic, &Self::group(topic), Start::Earliest)
    }

    /// How many process spans look like second ones of a delivery when so many messages come again: a broker that counts
    /// its deliveries tells them apart.
    pub fn redeliveries(&self, messages: usize) -> usize {
        let known = self.subscription("any").redelivery() == Redelivery::Broker;
        if known { 0 } else { messages }
    }

    /// The name of that group.
    pub fn group(topic: &str) -> String {
        format!("{topic}-group")
    }

    /// Starts a worker.
    pub fn spawn(&mut self, worker: Worker) -> WorkerHandle {
        let telemetry = self.telemetry.clone();
        let runtime = self.runtime.get_or_insert_with(|| Runtime::new(telemetry).unwrap().grace(LONG));
        runtime.spawn(worker)
    }

    /// Gives the runtime away, to end it by hand.
    pub fn runtime(&mut self) -> Runtime {
        self.runtime.take().expect("a worker was spawned")
    }

    /// Drains what was spawned; workers that are spawned later run on a new runtime, as after a restart.
    pub async fn drain(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            within("the drain", runtime.until(std::future::ready(()))).await.expect("a clean drain");
        }
    }

    /// Drains, and gives all spans, with which the metrics must agree.
    pub async fn end(mut self) -> Graph {
        self.drain().await;
        let graph = self.graph().await;
        if self.telemetry.metrics().is_some() {
            agreement::check(&graph, &self.metrics);
        }
        graph
    }

    /// As [`end`](Self::end), and gives all metrics.
    pub async fn end_measured(self) -> Measures {
        let metrics = self.metrics.clone();
        self.end().await;
        Measures::last(&metrics)
    }

    /// All metrics so far.
    pub async fn measures(&self) -> Measures {
        self.telemetry.flushed(LONG).await.unwrap();
        Measures::last(&self.metrics)
    }

    /// All spans so far.
    pub async fn graph(&self) -> Graph {
        self.telemetry.flushed(LONG).await.unwrap();
        assert_eq!(self.telemetry.dropped(), 0, "spans were dropped");
        Graph::new(self.exporter.get_finished_spans().unwrap())
    }
}

impl<B> fmt::Debug for Stage<'_, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stage").field("telemetry", &self.telemetry).finish_non_exhaustive()
    }
}
