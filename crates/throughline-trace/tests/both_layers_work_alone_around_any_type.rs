//! A raw client with message types of its own, and no runtime of ours.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use bytes::Bytes;
use common::{Recorder, links, run};
use opentelemetry::{
    Context,
    trace::{SpanKind, TraceContextExt},
};
use std::{collections::HashMap, convert::Infallible, sync::Arc};
use throughline_core::{Destination, Extract, Inbound, Inject, Outbound};
use throughline_trace::{Classify, Failure, MirrorLayer, TracingLayer};
use tower::{ServiceBuilder, ServiceExt};

/// As some client has it.
#[derive(Clone, Default)]
struct Record {
    value: u32,
    fields: HashMap<String, String>,
}

impl Inbound for Record {
    fn fields(&self) -> &dyn Extract {
        &self.fields
    }
}

/// Fields that can be written.
#[derive(Default)]
struct Outgoing(HashMap<String, Vec<u8>>);

impl Inject for Outgoing {
    fn set(&mut self, name: &'static str, value: Bytes) {
        self.0.insert(name.into(), value.into());
    }

    fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }
}

impl Outbound for Outgoing {
    fn fields_mut(&mut self) -> &mut dyn Inject {
        self
    }
}

/// An error without a text.
#[derive(Debug)]
struct Mute;

#[derive(Clone)]
struct MuteIsBad;

impl<Res> Classify<Res, Mute> for MuteIsBad {
    fn failure(&self, result: &Result<Res, Mute>) -> Option<Failure> {
        result.as_ref().err().map(|_| Failure::new("mute"))
    }
}

#[test]
fn a_context_goes_over_a_wire_that_is_not_ours() {
    let recorder = Recorder::new();
    let mirror = MirrorLayer::new(Arc::new(Destination::new("nats", "subject"))).spans(recorder.tracer());
    let sender = ServiceBuilder::new()
        .layer(mirror)
        .service_fn(|outgoing: Outgoing| async move { Ok::<_, Infallible>(outgoing.0) });
    let wire = run(sender.oneshot(Outgoing::default())).unwrap();

    let fields = wire.into_iter().map(|(name, value)| (name, String::from_utf8(value).unwrap())).collect();
    let receiver = ServiceBuilder::new()
        .layer(TracingLayer::new(recorder.tracer()).classify(MuteIsBad))
        .service_fn(|record: Record| async move {
            assert!(Context::current().span().span_context().is_valid());
            if record.value == 2 { Err(Mute) } else { Ok(record.value) }
        });
    assert_eq!(run(receiver.clone().oneshot(Record { value: 1, fields })).unwrap(), 1);
    run(receiver.oneshot(Record { value: 2, fields: HashMap::new() })).unwrap_err();

    let spans = recorder.spans();
    assert_eq!(spans[0].name, "send subject");
    assert_eq!(spans[1].span_kind, SpanKind::Consumer);
    assert_eq!(links(&spans[1])[0].span_id(), spans[0].span_context.span_id());
    assert_eq!(common::attribute(&spans[2], "error.type"), Some("mute".into()));
}
