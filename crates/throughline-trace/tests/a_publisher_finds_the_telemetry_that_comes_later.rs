//! A mirror that was built before there was telemetry traces as soon as there is. One test, since it is about what is
//! global.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{carried, message, remote, run};
use opentelemetry::global;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};
use throughline_core::{Destination, Message};
use throughline_trace::{MirrorLayer, Telemetry, TracingLayer};
use tower::{ServiceBuilder, ServiceExt};

#[test]
fn whatever_was_first() {
    let topic = Arc::new(Destination::new("kafka", "out"));
    let service = ServiceBuilder::new()
        .layer(MirrorLayer::new(topic))
        .service_fn(|message: Message| async move { Ok::<_, Infallible>(message) });
    let send = || run(service.clone().oneshot(Message::new("x"))).unwrap();

    // Nothing yet: nothing is written, and what came along is carried on.
    assert_eq!(carried(&send()), None);
    let inner = service.clone();
    let through = ServiceBuilder::new()
        .layer(TracingLayer::passthrough())
        .service_fn(move |_: Message| inner.clone().oneshot(Message::new("x")));
    assert_eq!(carried(&run(through.oneshot(message(3))).unwrap()), Some(remote(3)));

    // A provider that is not ours: found within a second.
    let exporter = InMemorySpanExporter::default();
    global::set_tracer_provider(SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build());
    let deadline = Instant::now() + Duration::from_secs(30);
    while carried(&send()).is_none() {
        assert!(Instant::now() < deadline, "never found");
        std::thread::yield_now();
    }
    assert_eq!(exporter.get_finished_spans().unwrap().len(), 1);

    // Ours: found at the next send.
    let exporter = InMemorySpanExporter::default();
    let telemetry = Telemetry::builder("test").exporter(exporter.clone()).build().unwrap();
    assert!(carried(&send()).is_some());
    telemetry.flush(Duration::from_secs(5)).unwrap();
    let spans = exporter.get_finished_spans().unwrap();
    assert_eq!(spans.len(), 1);
    assert_eq!(spans[0].instrumentation_scope.name(), "throughline");
    assert_eq!(spans[0].instrumentation_scope.schema_url(), Some("https://opentelemetry.io/schemas/1.44.0"));

    // Shut down and set up again.
    telemetry.shutdown(Duration::from_secs(5)).unwrap();
    assert_eq!(carried(&send()), None);
    let exporter = InMemorySpanExporter::default();
    let again = Telemetry::builder("test").exporter(exporter.clone()).build().unwrap();
    assert!(carried(&send()).is_some());
    again.flush(Duration::from_secs(5)).unwrap();
    assert_eq!(exporter.get_finished_spans().unwrap().len(), 1);
}
