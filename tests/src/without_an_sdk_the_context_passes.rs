//! Nothing that records: the trace does not die with us.

use crate::{
    Inbox, LONG, Site, Stage,
    steps::{header, note, pass_on},
};
use opentelemetry_sdk::trace::InMemorySpanExporter;
use throughline::{Message, Telemetry, Worker, handler_with};
use tower::ServiceExt;

const CONTEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const STATE: &str = "vendor=a:1";

/// No SDK at all.
pub async fn no_sdk_passes_it_on<B: Site>(broker: &B) {
    pass(Stage::of(broker, InMemorySpanExporter::default(), Telemetry::off())).await;
}

/// A provider that was shut down before the message came.
pub async fn a_provider_that_was_shut_down_passes_it_on<B: Site>(broker: &B) {
    let stage = Stage::new(broker);
    stage.telemetry.finished(LONG).await.unwrap();
    pass(stage).await;
}

async fn pass<B: Site>(mut stage: Stage<'_, B>) {
    let (first, second) = (stage.topic(1).await, stage.topic(1).await);
    let onward = stage.publisher(&second);
    let (told, mut inbox) = Inbox::new();
    stage.spawn(Worker::new("first", stage.subscription(&first), move || {
        handler_with(onward.clone(), pass_on)
    }));
    stage.spawn(Worker::new("second", stage.subscription(&second), move || handler_with(told.clone(), note)));
    let message = Message::new("1").with_header("traceparent", CONTEXT).with_header("tracestate", STATE);
    stage.broker.sink(&first).oneshot(message).await.unwrap();
    let arrived = inbox.next().await;
    stage.drain().await;
    assert_eq!(header(&arrived, "traceparent"), Some(CONTEXT));
    assert_eq!(header(&arrived, "tracestate"), Some(STATE));
}
