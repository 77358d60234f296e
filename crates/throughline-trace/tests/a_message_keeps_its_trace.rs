//! The process span belongs to the producer's trace, by link or as a child, whatever the message's fields look like.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{Recorder, attribute, carried, links, message, origin, remote, run, with_fields};
use futures_util::future::join_all;
use opentelemetry::{
    Context,
    baggage::BaggageExt,
    trace::{SpanContext, SpanId, SpanKind, Status, TraceContextExt, Tracer},
};
use opentelemetry_sdk::trace::{Sampler, SpanData};
use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};
use throughline_core::{Message, Settlement};
use throughline_trace::{FollowLinks, Relation, TraceContext, TracingLayer};
use tower::{Service, ServiceBuilder, ServiceExt};

/// Handles one message; what the handler saw as current.
fn handle(layer: TracingLayer, message: Message) -> (Context, Message) {
    let seen = Arc::new(Mutex::new(None));
    let theirs = seen.clone();
    let service = ServiceBuilder::new().layer(layer).service_fn(move |message: Message| {
        let seen = theirs.clone();
        async move {
            tokio::task::yield_now().await;
            *seen.lock().unwrap() = Some((Context::current(), message));
            Ok::<_, Infallible>(())
        }
    });
    run(service.oneshot(message)).unwrap();
    seen.lock().unwrap().take().unwrap()
}

fn processed(message: Message) -> SpanData {
    let recorder = Recorder::new();
    handle(TracingLayer::new(recorder.tracer()), message);
    let mut spans = recorder.spans();
    assert_eq!(spans.len(), 1);
    spans.remove(0)
}

#[test]
fn by_default_a_new_root_links_to_the_producer() {
    let span = processed(message(1));
    assert_eq!(span.span_kind, SpanKind::Consumer);
    assert_eq!(span.parent_span_id, SpanId::INVALID);
    assert_ne!(span.span_context.trace_id(), remote(1).trace_id());
    assert_eq!(links(&span), [remote(1)], "with flags and tracestate");
    assert_eq!(span.status, Status::Unset);
}

#[test]
fn parent_and_link_is_a_child_that_links_too() {
    let recorder = Recorder::new();
    let layer = TracingLayer::new(recorder.tracer()).relation(Relation::ParentAndLink);
    let (current, _) = handle(layer, message(3));
    let span = &recorder.spans()[0];
    assert_eq!(span.parent_span_id, remote(3).span_id());
    assert_eq!(span.span_context.trace_id(), remote(3).trace_id());
    assert_eq!(span.span_context.trace_flags().to_u8(), 3, "the random flag stays");
    assert_eq!(span.span_context.trace_state().header(), "vendor=1");
    assert_eq!(links(span), [remote(3)]);
    assert_eq!(current.span().span_context(), &span.span_context);
}

#[test]
fn an_old_message_is_only_linked_to() {
    for (age, child) in [(59 * 60, true), (61 * 60, false)] {
        let recorder = Recorder::new();
        let layer = TracingLayer::new(recorder.tracer()).relation(Relation::ParentAndLink);
        let mut origin = origin();
        origin.time = Some(SystemTime::now() - Duration::from_secs(age));
        let message = Message::received(None, None, message(1).headers().clone(), origin);
        handle(layer, message);
        let span = &recorder.spans()[0];
        assert_eq!(span.parent_span_id == remote(1).span_id(), child, "{age} s");
        assert_eq!(links(span), [remote(1)]);
    }
}

#[test]
fn an_ambient_span_is_never_taken_for_the_producer() {
    for relation in [Relation::Link, Relation::ParentAndLink] {
        for fields in [Message::new("no context"), message(1)] {
            let recorder = Recorder::new();
            let layer = TracingLayer::new(recorder.tracer()).relation(relation);
            let ambient = Context::new().with_span(recorder.tracer().start("ambient"));
            let ambient_context = ambient.span().span_context().clone();
            let has_context = carried(&fields).is_some();
            {
                let _current = ambient.attach();
                handle(layer, fields);
            }
            let span = recorder.named("process");
            assert_ne!(span.parent_span_id, ambient_context.span_id());
            assert_ne!(span.span_context.trace_id(), ambient_context.trace_id());
            let want = match (relation, has_context) {
                (_, false) => vec![],
                (Relation::Link, true) => vec![remote(1)],
                (Relation::ParentAndLink, true) => vec![remote(1), ambient_context],
            };
            assert_eq!(links(&span), want, "{relation:?}");
        }
    }
}

#[test]
fn a_malformed_context_gives_a_marked_root() {
    let invalid: &[&[u8]] = &[
        b"",
        b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        b"00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        b"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        b"\xff\xfe",
    ];
    for value in invalid {
        let value: &'static [u8] = value;
        let span = processed(with_fields(&[("traceparent", Some(value)), ("tracestate", Some(b"a=1"))]));
        assert_eq!(links(&span), []);
        assert_eq!(attribute(&span, "throughline.context.invalid"), Some(true.into()));
        assert!(span.span_context.trace_state().header().is_empty());
    }
    for nothing in [Message::new("x"), with_fields(&[("traceparent", None)])] {
        let span = processed(nothing);
        assert_eq!(links(&span), []);
        assert_eq!(attribute(&span, "throughline.context.invalid"), None, "absent is not invalid");
    }
}

#[test]
fn the_last_valid_of_several_fields_counts() {
    const A: &[u8] = b"00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-aaaaaaaaaaaaaaaa-01";
    const B: &[u8] = b"00-bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb-bbbbbbbbbbbbbbbb-01";
    let (a, b) = (*b"aaaaaaaaaaaaaaaa", *b"bbbbbbbbbbbbbbbb");
    type Fields = &'static [(&'static str, Option<&'static [u8]>)];
    let cases: &[(Fields, [u8; 16])] = &[
        (&[("traceparent", Some(A)), ("traceparent", Some(B))], b),
        (&[("traceparent", Some(A)), ("traceparent", None)], a),
        (&[("traceparent", Some(A)), ("traceparent", Some(b"nonsense"))], a),
        (&[("traceparent", Some(A)), ("Traceparent", Some(B))], a),
        (&[("TRACEPARENT", Some(A)), ("Traceparent", Some(B))], b),
        (&[("ce_traceparent", Some(A))], a),
        (&[("traceparent", Some(B)), ("ce_traceparent", Some(A))], b),
    ];
    for (fields, want) in cases {
        let links = links(&processed(with_fields(fields)));
        let got = links.iter().map(|link| link.span_id().to_string()).collect::<Vec<_>>();
        assert_eq!(got, [std::str::from_utf8(want).unwrap()], "{fields:?}");
    }
}

#[test]
fn baggage_and_context_are_current_and_end_with_the_call() {
    let recorder = Recorder::new();
    let before = Context::current();
    let incoming = message(1).with_header("baggage", "tenant=a%20b;p=1");
    let (current, seen) = handle(TracingLayer::new(recorder.tracer()), incoming);
    assert_eq!(current.baggage().get("tenant").unwrap().as_str(), "a b");
    let span = &recorder.spans()[0];
    assert_eq!(current.span().span_context(), &span.span_context);
    assert_eq!(seen.context().span().span_context(), &span.span_context, "the trail");
    assert_eq!(seen.creation_context(), Some(remote(1)));
    assert_eq!(Context::current().span().span_context(), before.span().span_context(), "nothing leaks");
}

#[test]
fn the_attributes_are_those_of_the_conventions() {
    let recorder = Recorder::new();
    let mut origin = origin();
    (origin.partition, origin.offset) = (Some(3), Some(42));
    let message = Message::received(None, Some("key".into()), message(1).headers().clone(), origin);
    handle(TracingLayer::new(recorder.tracer()), message);
    let span = recorder.named("process orders");
    for (name, value) in [
        ("messaging.system", "kafka".into()),
        ("messaging.operation.name", "process".into()),
        ("messaging.operation.type", "process".into()),
        ("messaging.destination.name", "orders".into()),
        ("messaging.destination.partition.id", "3".into()),
        ("messaging.kafka.offset", 42.into()),
        ("messaging.kafka.message.key", "key".into()),
        ("messaging.kafka.message.tombstone", true.into()),
    ] {
        let value: opentelemetry::Value = value;
        assert_eq!(attribute(&span, name), Some(value), "{name}");
    }
    let quiet = Recorder::new();
    let layer = TracingLayer::new(quiet.tracer()).record_key(false).operation("handle");
    handle(layer, Message::received(None, Some("key".into()), Default::default(), common::origin()));
    assert_eq!(attribute(&quiet.named("handle orders"), "messaging.kafka.message.key"), None);
}

#[test]
fn many_destinations_each_have_their_name() {
    let recorder = Recorder::new();
    let service = ServiceBuilder::new()
        .layer(TracingLayer::new(recorder.tracer()))
        .service_fn(|_: Message| async { Ok::<_, Infallible>(()) });
    let topics: Vec<_> =
        (0..100).map(|n| Arc::new(throughline_core::Destination::new("kafka", format!("t{n}")))).collect();
    let mut service = service;
    for round in 0..3 {
        for topic in &topics {
            let origin = throughline_core::Origin::new(topic.clone());
            let message = Message::received(None, None, Default::default(), origin);
            run(async { service.ready().await.unwrap().call(message).await }).unwrap();
            let last = recorder.spans().pop().unwrap();
            assert_eq!(last.name, format!("process {}", topic.name), "round {round}");
        }
    }
}

#[test]
fn unsampled_stays_unsampled() {
    for follow in [false, true] {
        for relation in [Relation::Link, Relation::ParentAndLink] {
            let recorder = Recorder::sampling(FollowLinks::default());
            let layer = TracingLayer::new(recorder.tracer()).relation(relation).follow_links(follow);
            let (current, _) = handle(layer, message(2));
            assert_eq!(current.span().span_context(), &remote(2), "carried on as it came");
            assert_eq!(recorder.spans().len(), 0);
        }
    }
    let recorder = Recorder::sampling(Sampler::AlwaysOff);
    let (current, _) = handle(TracingLayer::new(recorder.tracer()), Message::new("no context"));
    let context = current.span().span_context().clone();
    assert!(context.is_valid() && !context.is_sampled(), "those downstream are told");
    // A sampler that says no does not break a trace that others sampled.
    let (current, _) = handle(TracingLayer::new(recorder.tracer()), message(1));
    assert_eq!(current.span().span_context(), &remote(1));
}

#[test]
fn a_failure_is_an_error_with_its_type() {
    let recorder = Recorder::new();
    let service = ServiceBuilder::new().layer(TracingLayer::new(recorder.tracer())).service_fn(
        |message: Message| async move {
            match message.payload().as_ref() {
                b"err" => Err("broken"),
                b"nack" => Ok(Settlement::nack()),
                _ => Ok(Settlement::Ack),
            }
        },
    );
    for payload in ["err", "nack", "ack"] {
        let _ = run(service.clone().oneshot(Message::new(payload)));
    }
    let spans = recorder.spans();
    let of = |n: usize| (spans[n].status.clone(), attribute(&spans[n], "error.type"));
    assert_eq!(of(0), (Status::error("broken"), Some("_OTHER".into())));
    assert_eq!(of(1), (Status::error(""), Some("nack".into())));
    assert_eq!(of(2), (Status::Unset, None));
}

#[test]
fn messages_side_by_side_do_not_mix_contexts() {
    let recorder = Recorder::new();
    let layer = TracingLayer::new(recorder.tracer());
    let service = ServiceBuilder::new().layer(layer).service_fn(|message: Message| async move {
        for _ in 0..3 {
            tokio::task::yield_now().await;
            let current: SpanContext = Context::current().span().span_context().clone();
            assert_eq!(&current, message.context().span().span_context());
        }
        Ok::<_, Infallible>(())
    });
    run(async {
        let all = (0..50_u64).map(|n| {
            let parent = format!("00-{:032x}-{:016x}-01", n + 1, n + 1);
            service.clone().oneshot(Message::new("x").with_header("traceparent", parent))
        });
        for done in join_all(all).await {
            done.unwrap();
        }
        assert!(!Context::current().span().span_context().is_valid());
    });
    let mut seen: Vec<_> = recorder.spans().iter().map(|span| links(span)[0].span_id().to_string()).collect();
    seen.sort();
    let want: Vec<_> = (1..=50).map(|n| format!("{n:016x}")).collect();
    assert_eq!(seen, want);
}

#[test]
fn what_is_current_around_is_not_the_messages_where_nothing_is_traced() {
    let around = Context::new().with_remote_span_context(remote(1));
    let baggage = Context::new().with_baggage([opentelemetry::KeyValue::new("tenant", "7")]);
    for around in [around, baggage] {
        let _around = around.attach();
        let (seen, _) = handle(TracingLayer::passthrough(), Message::new("body"));
        assert!(!seen.span().span_context().is_valid() && seen.baggage().is_empty(), "{seen:?}");
    }
}
