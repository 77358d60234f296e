//! What an adapter says becomes spans and metrics.

use super::{Measured, Metrics, Operation, Registry, lags::Lags};
use crate::{
    Failure, Spans, codec, future, semconv as key,
    spans::Started,
    template::{self, Template},
};
use bytes::Bytes;
use opentelemetry::{
    Context, KeyValue,
    trace::{Link, SpanKind, TraceContextExt},
};
use std::{
    borrow::Cow,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};
use throughline_core::{ByteString, Destination, Event, Headers, Observe, Settled, Settlement};

/// Listens to one source. Its events are of batches, so that a lock and a look-up are cheap here.
pub(crate) struct Hearing {
    spans: Option<Spans>,
    metrics: Option<Metrics>,
    /// Whether an automatic commit that went well has a span too.
    commit_spans: bool,
    settlements: Mutex<Vec<Settlements>>,
    lags: Arc<Lags>,
}

/// What is prepared for one way to settle at one destination.
#[derive(Clone)]
struct Settlements {
    destination: Arc<Destination>,
    operation: &'static str,
    template: Arc<Template>,
    measured: Option<Arc<Measured>>,
}

impl Hearing {
    pub(crate) fn new(
        spans: Option<Spans>,
        metrics: Option<(Metrics, &Registry)>,
        commit_spans: bool,
    ) -> Self {
        let lags = Arc::new(Lags::default());
        if let Some((_, registry)) = metrics {
            registry.watch_lags(&lags);
        }
        let metrics = metrics.map(|(metrics, _)| metrics);
        Hearing { spans, metrics, commit_spans, settlements: Mutex::default(), lags }
    }

    fn settled(&self, settled: Settled<'_>) {
        let error = settled.result.err();
        let Settlements { template, measured, .. } = self.settlements(settled.destination, settled.how);
        let failure = error.map(|error| Failure {
            error_type: Cow::Borrowed(error.kind().as_str()),
            description: Some(error.to_string()),
        });
        if let Some(measured) = measured {
            let error_type = failure.as_ref().map(|failure| &*failure.error_type);
            measured.record(settled.duration, settled.count as u64, error_type);
        }
        let automatic = &*settled.destination.system == key::KAFKA;
        let visible = failure.is_some() || self.commit_spans || !automatic;
        if let Some(spans) = self.spans.as_ref().filter(|_| visible) {
            span(spans, &template, settled, failure);
        }
    }

    fn settlements(&self, of: &Arc<Destination>, how: Settlement) -> Settlements {
        /// How many are remembered; a source has a few topics.
        const REMEMBERED: usize = 256;
        let operation = operation(&of.system, how);
        let mut known = self.settlements.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it =
            |known: &&Settlements| Arc::ptr_eq(&known.destination, of) && known.operation == operation;
        if let Some(found) = known.iter().find(is_it) {
            return found.clone();
        }
        let template = Arc::new(Template::new(Some(operation), "settle", Some(of.clone())));
        let measured =
            self.metrics.clone().map(|metrics| Measured::new(metrics, Operation::Settle, &template));
        let new = Settlements { destination: of.clone(), operation, template, measured };
        if known.len() >= REMEMBERED {
            known.remove(0);
        }
        known.push(new.clone());
        new
    }
}

/// The conventions' name of a settlement.
fn operation(system: &str, how: Settlement) -> &'static str {
    match (system, how) {
        (key::KAFKA, _) => "commit",
        (key::SQS, Settlement::Ack | Settlement::Reject) => "delete",
        _ => how.as_str(),
    }
}

/// A span of what is over already: a root that links to what made the messages, as far as the adapter kept that.
fn span(spans: &Spans, template: &Template, settled: Settled<'_>, failure: Option<Failure>) {
    let now = SystemTime::now();
    let mut builder = template.builder(SpanKind::Client, settled.contexts.iter().filter_map(link).collect());
    builder.start_time = now.checked_sub(settled.duration);
    if let Some(attributes) = &mut builder.attributes {
        let count = i64::try_from(settled.count).unwrap_or(i64::MAX);
        attributes.push(KeyValue::new(key::BATCH_COUNT, count));
        if let Some(id) = settled.request_id.filter(|_| settled.destination.system == key::SQS) {
            attributes.push(KeyValue::new(key::AWS_REQUEST_ID, id.to_owned()));
        }
    }
    if let Started::Recording(context) = spans.start(builder, &Context::new()) {
        let span = context.span();
        if let Some(failure) = failure {
            future::record(&span, failure);
        }
        span.end_with_timestamp(now);
    }
}

fn link(traceparent: &Bytes) -> Option<Link> {
    let mut fields = Headers::new();
    fields.append(ByteString::from_static("traceparent"), Some(traceparent.clone()));
    codec::extract(&fields).context.map(Link::with_context)
}

impl Observe for Hearing {
    fn observe(&self, event: Event<'_>) {
        match event {
            Event::Settled(settled) => self.settled(settled),
            Event::Lag { destination, partition, messages } if self.metrics.is_some() => {
                self.lags.set(destination, partition, messages);
            }
            Event::Rebalanced { revoked, .. } => self.lags.forget(revoked),
            Event::Skipped { destination, from, to, .. } => {
                if let Some(metrics) = &self.metrics {
                    let offsets = u64::try_from(to.saturating_sub(from)).unwrap_or(0);
                    metrics.skipped(offsets, &template::of_metrics(destination));
                }
            }
            _ => {}
        }
    }
}
