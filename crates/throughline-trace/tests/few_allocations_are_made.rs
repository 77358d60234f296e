//! What tracing costs in allocations, since time cannot be measured on a shared machine.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{message, origin};
use opentelemetry::{metrics::MeterProvider, trace::TracerProvider};
use opentelemetry_sdk::{
    metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider},
    trace::SdkTracerProvider,
};
use std::{
    convert::Infallible,
    future::Ready,
    hint::black_box,
    pin::pin,
    sync::Arc,
    task::{Poll, Waker},
    time::SystemTime,
};
use throughline_core::{Destination, Headers, Message};
use throughline_trace::{Metrics, MirrorLayer, TracingLayer, codec};
use tower::{Layer, Service, service_fn};

fn allocations(work: impl FnOnce()) -> u64 {
    allocation_counter::measure(work).count_total
}

fn done(_: Message) -> Ready<Result<(), Infallible>> {
    std::future::ready(Ok(()))
}

fn received(flags: u8) -> Message {
    let mut headers = Headers::new();
    headers.append("content-type", Some("text/plain".into()));
    headers.append("traceparent", message(flags).headers().get("traceparent").cloned());
    let mut origin = origin();
    (origin.partition, origin.offset, origin.time) = (Some(1), Some(2), Some(SystemTime::UNIX_EPOCH));
    Message::received(Some("body".into()), None, headers, origin)
}

/// One message, after the first of this destination.
fn per_message(layer: TracingLayer, flags: u8) -> u64 {
    per(layer, || received(flags))
}

fn per(layer: TracingLayer, received: impl Fn() -> Message) -> u64 {
    let mut service = layer.layer(service_fn(done));
    let mut run = |message| {
        let mut future = pin!(service.call(message));
        assert!(future.as_mut().poll(&mut std::task::Context::from_waker(Waker::noop())).is_ready());
    };
    let [first, second] = [0; 2].map(|_| received());
    // The same destination, as an adapter hands it out.
    let (mut first, origin) = (first, second.origin().unwrap().clone());
    *first.origin_mut().unwrap() = origin;
    run(first);
    allocations(|| run(second))
}

#[test]
fn extracting_allocates_nothing() {
    let message = received(1);
    assert_eq!(allocations(|| drop(black_box(codec::extract(message.headers())))), 0);
}

#[test]
fn injecting_allocates_the_value_alone() {
    let context = codec::extract(received(1).headers()).context.unwrap();
    let mut headers = Headers::new();
    assert_eq!(allocations(|| codec::inject(&context, &mut headers)), 1);
}

#[test]
fn a_span_costs_five_and_passing_through_two() {
    // No processor: what is counted is starting and ending, not the export.
    let provider = SdkTracerProvider::builder().build();
    let spans = || TracingLayer::new(provider.tracer("test"));
    assert_eq!(per_message(spans(), 1), 5, "attributes, links, span, context, trail");
    assert_eq!(per_message(spans().follow_links(true), 0), 2, "context, trail");
    assert_eq!(per_message(TracingLayer::passthrough(), 1), 2, "context, trail");
}

#[test]
fn metrics_cost_no_allocation_but_the_trail_that_counts_tries() {
    let exporter = InMemoryMetricExporter::default();
    let reader = PeriodicReader::builder(exporter).build();
    let meters = SdkMeterProvider::builder().with_reader(reader).build();
    let metrics = Metrics::new(&meters.meter("test"));
    let provider = SdkTracerProvider::builder().build();
    let spans = || TracingLayer::new(provider.tracer("test")).metrics(metrics.clone());
    assert_eq!(per_message(spans(), 1), 5, "as without");
    assert_eq!(per_message(spans().follow_links(true), 0), 2, "as without");
    let bare = || {
        let mut bare = received(1);
        *bare.headers_mut() = Headers::new();
        bare
    };
    let nothing = TracingLayer::passthrough();
    assert_eq!(per(nothing.clone(), bare), 0);
    assert_eq!(per(nothing.metrics(metrics.clone()), bare), 1, "trail");

    let topic = Arc::new(Destination::new("kafka", "orders"));
    let send = |layer: MirrorLayer| {
        let mut service = layer.layer(service_fn(done));
        let mut run = |message| {
            let mut future = pin!(service.call(message));
            let polled = future.as_mut().poll(&mut std::task::Context::from_waker(Waker::noop()));
            assert!(matches!(polled, Poll::Ready(Ok(()))));
        };
        let [first, second] = [0; 2].map(|_| Message::new("x"));
        run(first);
        allocations(|| run(second))
    };
    let mirror = || MirrorLayer::new(topic.clone()).spans(provider.tracer("test"));
    assert_eq!(send(mirror().metrics(metrics.clone())), send(mirror()));
}
