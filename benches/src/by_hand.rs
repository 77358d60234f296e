//! What a careful engineer writes by hand with the OpenTelemetry API: extract, a linked CONSUMER span, the handler
//! under its context, an explicit end; and for a send a PRODUCER span whose context is injected.
//!
//! Static span names and a prepared partition string. The spans are those of Throughline, field by field: a test
//! holds them against each other.

use opentelemetry::{
    Context, KeyValue, StringValue,
    propagation::{Extractor, Injector, TextMapPropagator},
    trace::{FutureExt, Link, SpanKind, TraceContextExt, Tracer},
};
use opentelemetry_sdk::{propagation::TraceContextPropagator, trace::SdkTracer};
use std::{future::Future, sync::Arc};
use throughline::{Headers, Message};
use tower::Service;

/// A hand-traced consumer and producer.
#[derive(Debug)]
pub struct ByHand {
    tracer: SdkTracer,
    propagator: TraceContextPropagator,
    source: Arc<str>,
    group: Arc<str>,
    server: Arc<str>,
    destination: Arc<str>,
}

impl ByHand {
    /// With this tracer.
    pub fn new(tracer: SdkTracer) -> Self {
        ByHand {
            tracer,
            propagator: TraceContextPropagator::new(),
            source: "orders".into(),
            group: "classifier".into(),
            server: "broker-1.internal".into(),
            destination: "enriched".into(),
        }
    }

    /// Handles a message inside a process span.
    pub async fn process<F: Future<Output = ()>>(&self, message: Message, handle: impl FnOnce(Message) -> F) {
        let origin = message.origin().and_then(|origin| Some((origin.partition?, origin.offset?)));
        let key = message.key().map(|key| &key[..]);
        let context = self.start(&Get(message.headers()), origin.unwrap_or_default(), key);
        handle(message).with_context(context.clone()).await;
        context.span().end();
    }

    /// Starts the process span of a record, whatever its type; whoever calls ends it.
    pub fn start(
        &self,
        headers: &dyn Extractor,
        (partition, offset): (i32, i64),
        key: Option<&[u8]>,
    ) -> Context {
        let remote = self.propagator.extract_with_context(&Context::new(), headers);
        let link = Link::with_context(remote.span().span_context().clone());
        let mut attributes = Vec::with_capacity(10);
        attributes.extend([
            KeyValue::new("messaging.system", "kafka"),
            KeyValue::new("messaging.operation.name", "process"),
            KeyValue::new("messaging.operation.type", "process"),
            KeyValue::new("messaging.destination.name", StringValue::from(self.source.clone())),
            KeyValue::new("messaging.consumer.group.name", StringValue::from(self.group.clone())),
            KeyValue::new("server.address", StringValue::from(self.server.clone())),
            KeyValue::new("server.port", 9092),
            KeyValue::new("messaging.destination.partition.id", partition_id(partition)),
            KeyValue::new("messaging.kafka.offset", offset),
        ]);
        if let Some(key) = key.and_then(|key| std::str::from_utf8(key).ok()) {
            attributes.push(KeyValue::new("messaging.kafka.message.key", key.to_owned()));
        }
        let builder = self
            .tracer
            .span_builder("process orders")
            .with_kind(SpanKind::Consumer)
            .with_links(vec![link])
            .with_attributes(attributes);
        let span = self.tracer.build_with_context(builder, &Context::new());
        Context::new().with_span(span)
    }

    /// Sends a message inside a send span.
    pub async fn send<K: Service<Message>>(&self, sink: &mut K, mut message: Message) {
        let builder =
            self.tracer.span_builder("send enriched").with_kind(SpanKind::Producer).with_attributes([
                KeyValue::new("messaging.system", "kafka"),
                KeyValue::new("messaging.operation.name", "send"),
                KeyValue::new("messaging.operation.type", "send"),
                KeyValue::new("messaging.destination.name", StringValue::from(self.destination.clone())),
                KeyValue::new("server.address", StringValue::from(self.server.clone())),
                KeyValue::new("server.port", 9092),
            ]);
        let span = self.tracer.build_with_context(builder, &Context::current());
        let context = Context::current_with_span(span);
        self.propagator.inject_context(&context, &mut Set(message.headers_mut()));
        // The sink of the benches never fails.
        let _ = sink.call(message).with_context(context.clone()).await;
        context.span().end();
    }
}

/// Prepared, as far as the topics here go.
fn partition_id(partition: i32) -> &'static str {
    const PREPARED: [&str; 4] = ["0", "1", "2", "3"];
    usize::try_from(partition).ok().and_then(|at| PREPARED.get(at)).copied().unwrap_or("?")
}

/// Reads headers for a propagator.
#[derive(Debug)]
pub struct Get<'a>(pub &'a Headers);

impl Extractor for Get<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| std::str::from_utf8(value).ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.iter().map(|header| &*header.name).collect()
    }
}

/// Writes headers for a propagator.
#[derive(Debug)]
pub struct Set<'a>(pub &'a mut Headers);

impl Injector for Set<'_> {
    fn set(&mut self, key: &str, value: String) {
        if !value.is_empty() {
            self.0.append(key.to_owned(), bytes::Bytes::from(value));
        }
    }
}
