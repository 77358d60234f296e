//! What is sent carries the context of its send span, and nothing that merely came along.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{Recorder, attribute, carried, links, message, remote, run};
use opentelemetry::{
    Context, KeyValue,
    baggage::BaggageExt,
    trace::{SpanId, SpanKind, TraceContextExt, Tracer},
};
use opentelemetry_sdk::trace::Sampler;
use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};
use throughline_core::{ContextBeside, Destination, Error, ErrorKind, Headers, Message, Receipt};
use throughline_trace::{
    Captured, FollowLinks, MirrorLayer, Relation, TraceContext, TracingLayer, Trail, forward, set_aside,
};
use tower::{Service, ServiceBuilder, ServiceExt};

fn layer(recorder: &Recorder) -> MirrorLayer {
    MirrorLayer::new(Arc::new(Destination::new("kafka", "out"))).spans(recorder.tracer())
}

/// Sends, and gives what arrived at the sink.
async fn send(recorder: &Recorder, message: Message) -> Message {
    let sent = Arc::new(Mutex::new(None));
    let sink = sent.clone();
    let service = ServiceBuilder::new().layer(layer(recorder)).service_fn(move |message: Message| {
        *sink.lock().unwrap() = Some(message);
        async { Ok::<_, Infallible>(Receipt::at(3, 42)) }
    });
    service.oneshot(message).await.unwrap();
    sent.lock().unwrap().take().unwrap()
}

/// Processes a message with this handler.
async fn process<F, Fut>(recorder: &Recorder, message: Message, handler: F)
where
    F: Fn(Message) -> Fut + Clone,
    Fut: Future<Output = ()>,
{
    let service = ServiceBuilder::new().layer(TracingLayer::new(recorder.tracer())).service_fn(
        move |message: Message| {
            let work = handler(message);
            async move {
                work.await;
                Ok::<_, Infallible>(())
            }
        },
    );
    service.oneshot(message).await.unwrap();
}

#[test]
fn a_send_without_a_context_is_a_root() {
    let recorder = Recorder::new();
    let sent = run(send(&recorder, Message::new("x").with_key("k")));
    let span = recorder.named("send out");
    assert_eq!(span.span_kind, SpanKind::Producer);
    assert_eq!(span.parent_span_id, SpanId::INVALID);
    assert_eq!(carried(&sent).unwrap().span_id(), span.span_context.span_id());
    assert_eq!(sent.headers().get("tracestate"), None, "never an empty value");
    assert_eq!(sent.headers().get("baggage"), None);
    for (name, value) in [
        ("messaging.operation.type", "send".into()),
        ("messaging.kafka.message.key", "k".into()),
        ("messaging.destination.partition.id", "3".into()),
        ("messaging.kafka.offset", 42.into()),
    ] {
        let value: opentelemetry::Value = value;
        assert_eq!(attribute(&span, name), Some(value), "{name}");
    }
}

#[test]
fn a_send_within_a_handler_is_a_child_of_its_process_span() {
    let recorder = Recorder::new();
    let sent = Mutex::new(None);
    run(process(&recorder, message(1).with_header("baggage", "tenant=a"), |_| async {
        *sent.lock().unwrap() = Some(send(&recorder, Message::new("new")).await);
    }));
    let (send, process) = (recorder.named("send out"), recorder.named("process"));
    assert_eq!(send.parent_span_id, process.span_context.span_id());
    let sent = sent.lock().unwrap().take().unwrap();
    assert_eq!(carried(&sent).unwrap().span_id(), send.span_context.span_id());
    assert_eq!(sent.context().baggage().get("tenant").unwrap().as_str(), "a");
}

#[test]
fn tracestate_and_flags_stay_intact_over_a_hop_in_one_trace() {
    let recorder = Recorder::new();
    let sent = Mutex::new(None);
    let layer = TracingLayer::new(recorder.tracer()).relation(Relation::ParentAndLink);
    let service = ServiceBuilder::new().layer(layer).service_fn(|_: Message| async {
        *sent.lock().unwrap() = Some(send(&recorder, Message::new("new")).await);
        Ok::<_, Infallible>(())
    });
    run(service.oneshot(message(3))).unwrap();
    let carried = carried(&sent.lock().unwrap().take().unwrap()).unwrap();
    assert_eq!(carried.trace_id(), remote(3).trace_id());
    assert_eq!(carried.trace_flags().to_u8(), 3);
    assert_eq!(carried.trace_state().header(), "vendor=1");
}

#[test]
fn captured_goes_before_current_before_the_trail() {
    let recorder = Recorder::new();
    let tracer = recorder.tracer();
    let [captured, current, trail] =
        ["captured", "current", "trail"].map(|name| Context::new().with_span(tracer.start(name)));
    let id = |context: &Context| context.span().span_context().span_id();
    let invalid = Context::new();
    let cases = [
        (Some(&captured), &current, id(&captured)),
        (Some(&invalid), &current, id(&current)),
        (None, &current, id(&current)),
        (None, &invalid, id(&trail)),
    ];
    for (captured, current, want) in cases {
        // A trail is only made by the layer.
        let service = ServiceBuilder::new()
            .layer(TracingLayer::passthrough())
            .service_fn(|message: Message| async move { Ok::<_, Infallible>(message) });
        let parent = trail.span().span_context().clone();
        let parent = format!("00-{}-{}-01", parent.trace_id(), parent.span_id());
        let received = Message::new("x").with_header("traceparent", parent);
        let mut message = run(service.oneshot(received)).unwrap();
        assert_eq!(message.extensions().get::<Trail>().unwrap().attempts(), 0);
        if let Some(captured) = captured {
            message.extensions_mut().insert(Captured(captured.clone()));
        }
        {
            let _current = current.clone().attach();
            run(send(&recorder, message));
        }
        let sent = recorder.spans().into_iter().rfind(|span| span.name == "send out").unwrap();
        assert_eq!(sent.parent_span_id, want);
    }
}

#[test]
fn a_creation_context_of_the_users_own_is_kept() {
    let recorder = Recorder::new();
    run(process(&recorder, Message::new("in"), |_| async {
        let sent = send(&recorder, message(1)).await;
        assert_eq!(sent.headers(), message(1).headers(), "untouched");
    }));
    let (send, process) = (recorder.named("send out"), recorder.named("process"));
    assert_eq!(send.span_kind, SpanKind::Client);
    assert_eq!(links(&send), [remote(1)]);
    assert_eq!(send.parent_span_id, process.span_context.span_id());
}

#[test]
fn what_came_along_with_a_received_message_is_replaced() {
    for forwarded in [false, true] {
        let recorder = Recorder::new();
        let sent = Mutex::new(None);
        let received = message(1).with_header("Traceparent", "old").with_header("h", "v");
        run(process(&recorder, received, |message| {
            let copy = if forwarded { forward(&message) } else { message };
            async { *sent.lock().unwrap() = Some(send(&recorder, copy).await) }
        }));
        let (send, process) = (recorder.named("send out"), recorder.named("process"));
        let sent = sent.lock().unwrap().take().unwrap();
        let fields = sent.headers().iter().filter(|h| h.name.eq_ignore_ascii_case("traceparent")).count();
        assert_eq!(fields, 1, "in any case of the name");
        assert_eq!(carried(&sent).unwrap().span_id(), send.span_context.span_id());
        assert_eq!(sent.headers().get("tracestate"), None, "it belonged to the old context");
        assert_eq!(sent.headers().get("h").unwrap().as_ref(), b"v");
        assert_eq!(send.span_kind, SpanKind::Producer);
        assert_eq!(send.parent_span_id, process.span_context.span_id());
        assert_eq!(links(&send), if forwarded { vec![remote(1)] } else { vec![] });
    }
}

/// A message whose headers say one context, and another place a second one that counts before.
fn with_both() -> Message {
    let mut message = Message::new("body").with_header("traceparent", OTHER);
    let mut fields = Headers::new();
    fields.set("traceparent", common::traceparent(1));
    fields.set("tracestate", "vendor=1");
    let beside = ContextBeside { fields, place: "googclient", decides: true, first: true };
    message.extensions_mut().insert(beside);
    message
}

const OTHER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[test]
fn of_two_contexts_that_came_along_neither_is_the_users_own() {
    type Copy = fn(&Message) -> Message;
    let copies: [(Copy, bool); 3] = [(Message::clone, false), (forward, true), (set_aside, true)];
    for (copy, linked) in copies {
        let recorder = Recorder::new();
        let sent = Mutex::new(None);
        run(process(&recorder, with_both(), |message| {
            let copy = copy(&message);
            async { *sent.lock().unwrap() = Some(send(&recorder, copy).await) }
        }));
        let (send, process) = (recorder.named("send out"), recorder.named("process"));
        let sent = sent.lock().unwrap().take().unwrap();
        assert_eq!(links(&process), [remote(1)]);
        assert_eq!(carried(&sent).unwrap().span_id(), send.span_context.span_id(), "nothing stale");
        assert_eq!(send.span_kind, SpanKind::Producer);
        assert_eq!(links(&send).first(), linked.then(|| remote(1)).as_ref());
    }
    // Outside a handler, too; and what the user puts into the copy is the user's.
    let recorder = Recorder::new();
    let sent = run(send(&recorder, forward(&with_both())));
    let span = recorder.named("send out");
    assert_eq!(carried(&sent).unwrap().span_id(), span.span_context.span_id());
    assert_eq!(links(&span), [remote(1)]);
    let own = "00-11111111111111111111111111111111-2222222222222222-01";
    let mut copy = forward(&with_both());
    copy.headers_mut().set("traceparent", own);
    let sent = run(send(&recorder, copy));
    assert_eq!(sent.headers().get("traceparent").map(|value| &value[..]), Some(own.as_bytes()));
}

#[test]
fn a_forwarded_message_needs_no_layer_before() {
    let recorder = Recorder::new();
    let sent = run(send(&recorder, forward(&message(1).with_header("baggage", "a=1"))));
    let span = recorder.named("send out");
    assert_eq!(carried(&sent).unwrap().span_id(), span.span_context.span_id());
    assert_eq!(links(&span), [remote(1)]);
}

#[test]
fn what_is_set_aside_keeps_the_original_context() {
    let recorder = Recorder::new();
    let kept = Mutex::new(None);
    run(process(&recorder, message(1), |message| async {
        *kept.lock().unwrap() = Some(message);
    }));
    // After the process span has ended, and from nowhere in particular.
    let message_in = kept.lock().unwrap().take().unwrap();
    let sent = run(send(&recorder, set_aside(&message_in)));
    assert_eq!(carried(&sent), Some(remote(1)));
    let (send_span, process) = (recorder.named("send out"), recorder.named("process"));
    assert_eq!(send_span.span_kind, SpanKind::Client);
    assert_eq!(links(&send_span), [remote(1), process.span_context.clone()]);
    assert_eq!(send_span.parent_span_id, process.span_context.span_id());
    // One that came without a context is not lost either.
    let sent = run(send(&recorder, set_aside(&Message::new("x"))));
    assert!(carried(&sent).is_some());
}

#[test]
#[allow(clippy::disallowed_methods, reason = "a bare spawn is what is tested")]
fn it_survives_a_buffer_and_a_spawned_task() {
    let recorder = Arc::new(Recorder::new());
    let theirs = recorder.clone();
    run(async move {
        let recorder = theirs.clone();
        let handler = tower::service_fn(move |message: Message| {
            let recorder = theirs.clone();
            let current = Context::current();
            assert!(!current.span().span_context().is_valid(), "a buffer calls from a task of its own");
            let copy = forward(&message);
            let task = tokio::spawn(async move { send(&recorder, copy).await });
            async move {
                task.await?;
                Ok::<_, tower::BoxError>(())
            }
        });
        let service = ServiceBuilder::new()
            .layer(TracingLayer::new(recorder.tracer()))
            .service(tower::buffer::Buffer::new(handler, 4));
        service.oneshot(message(1)).await.unwrap();
    });
    let (send, process) = (recorder.named("send out"), recorder.named("process"));
    assert_eq!(send.parent_span_id, process.span_context.span_id());
}

#[test]
fn a_failed_send_is_an_error() {
    let recorder = Recorder::new();
    let service = ServiceBuilder::new().layer(layer(&recorder)).service_fn(|_: Message| async {
        Err::<Receipt, _>(Error::new(ErrorKind::TooLarge, "out", "send less"))
    });
    run(service.oneshot(Message::new("x"))).unwrap_err();
    assert_eq!(attribute(&recorder.named("send out"), "error.type"), Some("too_large".into()));
}

#[test]
fn unsampled_stays_unsampled() {
    let recorder = Recorder::sampling(FollowLinks::default());
    let sent = Mutex::new(None);
    run(process(&recorder, message(2), |_| async {
        *sent.lock().unwrap() = Some(send(&recorder, Message::new("x")).await);
    }));
    assert_eq!(
        carried(&sent.lock().unwrap().take().unwrap()),
        Some(remote(2)),
        "tracestate and flags intact"
    );
    assert_eq!(recorder.spans().len(), 0);
    let off = Recorder::sampling(Sampler::AlwaysOff);
    let carried = carried(&run(send(&off, Message::new("x")))).unwrap();
    assert!(!carried.is_sampled(), "a root says so to those downstream");
}

#[test]
fn a_trace_outlives_its_provider() {
    let recorder = Recorder::new();
    recorder.provider.shutdown().unwrap();
    let sent = Mutex::new(None);
    run(process(&recorder, message(1), |_| async {
        *sent.lock().unwrap() = Some(send(&recorder, Message::new("x")).await);
    }));
    assert_eq!(carried(&sent.lock().unwrap().take().unwrap()), Some(remote(1)));
    assert_eq!(recorder.spans().len(), 0);
}

#[test]
fn suppressed_telemetry_sends_the_context_on() {
    let recorder = Recorder::new();
    let suppressed = Context::new().with_remote_span_context(remote(1)).with_telemetry_suppressed();
    let sent = {
        let _current = suppressed.attach();
        run(send(&recorder, Message::new("x")))
    };
    assert_eq!(carried(&sent), Some(remote(1)));
    assert_eq!(recorder.spans().len(), 0);
}

#[test]
fn baggage_beyond_its_limit_leaves_whole_members() {
    let recorder = Recorder::new();
    let baggage: Vec<_> = (0..64).map(|n| KeyValue::new(format!("k{n}"), "ä".repeat(60))).collect();
    let sent = {
        let _current = Context::new().with_baggage(baggage).attach();
        run(send(&recorder, Message::new("x")))
    };
    assert!(sent.headers().get("baggage").unwrap().len() <= 8192);
    let context = sent.context();
    let read = context.baggage();
    assert!(read.len() > 15);
    assert!(read.iter().all(|(_, (value, _))| value.as_str() == "ä".repeat(60)));
    assert!(sent.headers().get("traceparent").is_some());
}

#[test]
fn a_sampler_that_refuses_below_a_parent_does_not_cut_the_trace() {
    let recorder = Recorder::sampling(Sampler::AlwaysOff);
    let sent = {
        let _current = Context::new().with_remote_span_context(remote(1)).attach();
        run(send(&recorder, Message::new("x")))
    };
    assert_eq!(carried(&sent), Some(remote(1)));
}

#[test]
fn a_clone_of_the_service_sends_too() {
    let recorder = Recorder::new();
    let service = ServiceBuilder::new()
        .layer(layer(&recorder))
        .service_fn(|_: Message| async { Ok::<_, Infallible>(Receipt::default()) });
    let mut clone = service.clone();
    run(async {
        clone.ready().await.unwrap().call(Message::new("x")).await.unwrap();
    });
    assert_eq!(recorder.spans().len(), 1);
}
