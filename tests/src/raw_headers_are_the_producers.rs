//! FC-39: a handler that looks into the raw headers, and one that asks the message.

use crate::{
    Inbox, Site, Stage, Told,
    steps::{header, named},
};
use opentelemetry::{
    Context,
    propagation::TextMapPropagator,
    trace::{TraceContextExt, Tracer, TracerProvider as _},
};
use opentelemetry_sdk::{
    propagation::TraceContextPropagator,
    trace::{InMemorySpanExporter, SdkTracerProvider},
};
use std::collections::HashMap;
use throughline::{Message, State, Telemetry, TraceContext, Worker, handler_with};
use throughline_test::{Expect, SpanRef};

/// The raw headers hold what the producer wrote, so a span under them is below the send. `Message::context()` is the
/// process span, and so is what is current.
pub async fn the_accessor_gives_the_process_context<B: Site>(broker: &B) {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let mut stage = Stage::of(broker, exporter, Telemetry::from_provider(provider.clone()));
    let topic = stage.topic(1).await;
    let (told, mut inbox) = Inbox::new();
    let state = (provider, told);
    stage.spawn(Worker::new("w", stage.subscription(&topic), move || handler_with(state.clone(), work)));
    stage.publisher(&topic).send(Message::new("1")).await.unwrap();
    let message = inbox.next().await;
    let graph = stage.end().await;

    graph.check(&Expect::new().spans(5).sends(1).process_spans(1).links(1).traces(2).components(1)).unwrap();
    let send = named(&graph, &format!("send {topic}"))[0].id;
    let process = named(&graph, &format!("{} {topic}", B::PROCESS))[0].id;
    assert_eq!(named(&graph, "work")[0].parent, Some(send));
    assert_eq!(named(&graph, "child")[0].parent, Some(process));
    assert_eq!(named(&graph, "asked")[0].parent, Some(process));
    let raw = format!("00-{:032x}-{:016x}-01", send.trace, send.span);
    assert_eq!(header(&message, "traceparent"), Some(raw.as_str()), "the producer's bytes");
    // Pub/Sub's has a copy for Google's clients.
    let others = message.headers().iter().filter(|header| !header.name.ends_with("traceparent"));
    assert_eq!(others.count(), 0);
    assert_eq!(message.creation_context().map(|context| SpanRef::from(&context)), Some(send));
    assert_eq!(SpanRef::from(message.context().span().span_context()), process);
}

async fn work(message: Message, State((provider, told)): State<(SdkTracerProvider, Told)>) {
    let tracer = provider.tracer("user");
    let text = |value: &bytes::Bytes| String::from_utf8_lossy(value).into_owned();
    let raw: HashMap<String, String> = message
        .headers()
        .iter()
        .filter_map(|h| Some((h.name.to_string(), text(h.value.as_ref()?))))
        .collect();
    let extracted = TraceContextPropagator::new().extract_with_context(&Context::new(), &raw);
    drop(tracer.start_with_context("work", &extracted));
    drop(tracer.start("child"));
    drop(tracer.start_with_context("asked", &message.context()));
    told.tell(message);
}
