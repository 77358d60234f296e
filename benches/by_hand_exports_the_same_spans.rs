//! The hand-written reference is fair only if it does the same: name, kind, attributes, links and relations of what
//! it exports are held against ours.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says that it failed by a panic")]

use opentelemetry::{
    KeyValue,
    trace::{SpanKind, TracerProvider},
};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{SdkTracerProvider, SpanData, SpanExporter},
};
use std::{
    future::Future,
    sync::{Arc, Mutex},
};
use throughline::{Message, Telemetry, trace::FollowLinks};
use throughline_benches::{
    by_hand::ByHand,
    cases::{self, Way},
    replay::{Carried, NullSink, Replay, message, source_of_all},
};

/// Everything of a span that does not differ by chance.
#[derive(Debug, PartialEq)]
struct Seen {
    name: String,
    kind: SpanKind,
    attributes: Vec<KeyValue>,
    links: Vec<String>,
    status: String,
    parent: Option<usize>,
    sampled: bool,
}

fn seen(spans: &[SpanData]) -> Vec<Seen> {
    let index = |span: &SpanData| {
        spans.iter().position(|other| {
            other.span_context.span_id() == span.parent_span_id
                && other.span_context.trace_id() == span.span_context.trace_id()
        })
    };
    let one = |span: &SpanData| {
        let mut attributes = span.attributes.clone();
        attributes.sort_by(|a, b| a.key.as_str().cmp(b.key.as_str()));
        assert_eq!((span.dropped_attributes_count, span.events.len()), (0, 0));
        Seen {
            name: span.name.to_string(),
            kind: span.span_kind.clone(),
            attributes,
            links: span.links.iter().map(|link| format!("{:?}", link.span_context)).collect(),
            status: format!("{:?}", span.status),
            parent: index(span),
            sampled: span.span_context.is_sampled(),
        }
    };
    spans.iter().map(one).collect()
}

/// The SDK's own in-memory exporter forgets everything when a runtime shuts the telemetry down.
#[derive(Clone, Debug, Default)]
struct Kept(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Kept {
    fn export(&self, batch: Vec<SpanData>) -> impl Future<Output = OTelSdkResult> + Send {
        self.0.lock().unwrap().extend(batch);
        std::future::ready(Ok(()))
    }
}

fn provider() -> (Kept, SdkTracerProvider) {
    let exporter = Kept::default();
    let provider = SdkTracerProvider::builder()
        .with_sampler(FollowLinks::default())
        .with_simple_exporter(exporter.clone())
        .build();
    (exporter, provider)
}

#[test]
fn by_hand_exports_the_same_spans() {
    let runtime = cases::runtime().unwrap();
    let (theirs, provider_of_theirs) = provider();
    let hand = Arc::new(ByHand::new(provider_of_theirs.tracer("by hand")));
    let incoming = message(&source_of_all(), Carried::Sampled).with_key("customer-0000");
    let sender = hand.clone();
    runtime.block_on(hand.process(incoming, |message| async move {
        sender.send(&mut NullSink::default(), Message::new(message.payload().clone())).await;
    }));

    let (ours, provider_of_ours) = provider();
    let replay = Replay::new(1, Carried::Sampled);
    let telemetry = Telemetry::from_provider(provider_of_ours);
    cases::through_a_worker(&runtime, replay, telemetry, Way::Publishing).unwrap();

    let (theirs, ours) = (theirs.0.lock().unwrap(), ours.0.lock().unwrap());
    assert_eq!(theirs.len(), 2);
    assert_eq!(seen(&ours), seen(&theirs));
    assert_eq!(seen(&ours)[0].parent, Some(1), "send is below process");
    assert_eq!(seen(&ours)[1].links.len(), 1, "process is linked to its producer");
}
