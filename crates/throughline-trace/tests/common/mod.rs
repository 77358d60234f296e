//! What the tests of this crate share: a provider whose exported spans can be looked at.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    dead_code,
    unreachable_pub,
    reason = "helpers of tests; not all use all"
)]

use opentelemetry::{
    Value,
    trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState, TracerProvider},
};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracer, SdkTracerProvider, ShouldSample, SpanData};
use std::{future::Future, str::FromStr};
use throughline_core::{Header, Message};
use throughline_trace::TraceContext;

pub const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
pub const SPAN: &str = "00f067aa0ba902b7";

pub struct Recorder {
    exporter: InMemorySpanExporter,
    pub provider: SdkTracerProvider,
}

impl Recorder {
    pub fn new() -> Self {
        Self::sampling(opentelemetry_sdk::trace::Sampler::ParentBased(Box::new(
            opentelemetry_sdk::trace::Sampler::AlwaysOn,
        )))
    }

    pub fn sampling(sampler: impl ShouldSample + 'static) -> Self {
        let exporter = InMemorySpanExporter::default();
        let provider =
            SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).with_sampler(sampler).build();
        Recorder { exporter, provider }
    }

    pub fn tracer(&self) -> SdkTracer {
        self.provider.tracer("test")
    }

    /// What was exported, in the order of its end.
    pub fn spans(&self) -> Vec<SpanData> {
        self.exporter.get_finished_spans().unwrap()
    }

    pub fn named(&self, name: &str) -> SpanData {
        let mut found = self.spans().into_iter().filter(|span| span.name == name);
        let Some(span) = found.next() else { panic!("no span `{name}` in {:#?}", self.spans()) };
        assert!(found.next().is_none(), "more than one span `{name}`");
        span
    }
}

pub fn traceparent(flags: u8) -> String {
    format!("00-{TRACE}-{SPAN}-{flags:02x}")
}

pub fn remote(flags: u8) -> SpanContext {
    SpanContext::new(
        TraceId::from_hex(TRACE).unwrap(),
        SpanId::from_hex(SPAN).unwrap(),
        TraceFlags::new(flags),
        true,
        TraceState::from_str("vendor=1").unwrap(),
    )
}

/// A message that comes from a producer with this flag.
pub fn message(flags: u8) -> Message {
    Message::new("body").with_header("traceparent", traceparent(flags)).with_header("tracestate", "vendor=1")
}

pub fn with_fields(fields: &[(&'static str, Option<&'static [u8]>)]) -> Message {
    let mut message = Message::new("body");
    message.headers_mut().extend(
        fields.iter().map(|(name, value)| Header {
            name: (*name).into(),
            value: value.map(bytes::Bytes::from_static),
        }),
    );
    message
}

pub fn attribute(span: &SpanData, name: &str) -> Option<Value> {
    let mut found = span.attributes.iter().filter(|kv| kv.key.as_str() == name);
    let value = found.next().map(|kv| kv.value.clone());
    assert!(found.next().is_none(), "`{name}` twice");
    value
}

pub fn links(span: &SpanData) -> Vec<SpanContext> {
    span.links.links.iter().map(|link| link.span_context.clone()).collect()
}

/// The context that a message carries on the wire.
pub fn carried(message: &Message) -> Option<SpanContext> {
    let bare = Message::received(None, None, message.headers().clone(), origin());
    Some(bare.context().span().span_context().clone()).filter(SpanContext::is_valid)
}

pub fn origin() -> throughline_core::Origin {
    throughline_core::Origin::new(std::sync::Arc::new(throughline_core::Destination::new("kafka", "orders")))
}

pub fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}
