//! Tries of one delivery are a chain below its process span, and only what surfaces is an error.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test; some of its services panic")]

mod common;

use common::{Recorder, attribute, links, message, run};
use opentelemetry::{
    Context,
    trace::{SpanKind, Status, TraceContextExt},
};
use opentelemetry_sdk::trace::SpanData;
use std::{
    future::{Future, ready},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use throughline_core::Message;
use throughline_trace::{AttemptLayer, TracingLayer, Trail};
use tower::{BoxError, ServiceBuilder, ServiceExt, retry::Policy};

/// Retries every error this often.
#[derive(Clone)]
struct Times(u32);

impl<Res, E> Policy<Message, Res, E> for Times {
    type Future = std::future::Ready<()>;

    fn retry(&mut self, _: &mut Message, result: &mut Result<Res, E>) -> Option<Self::Future> {
        if result.is_ok() || self.0 == 0 {
            return None;
        }
        self.0 -= 1;
        Some(ready(()))
    }

    fn clone_request(&mut self, message: &Message) -> Option<Message> {
        Some(message.clone())
    }
}

/// Fails in the first `failures` tries, with the process of `retries`.
fn deliver<F, Fut>(recorder: &Recorder, retries: u32, handler: F) -> Result<(), BoxError>
where
    F: Fn(u32, Message) -> Fut + Clone,
    Fut: Future<Output = Result<(), BoxError>>,
{
    let tries = Arc::new(AtomicU32::new(0));
    let service = ServiceBuilder::new()
        .layer(TracingLayer::new(recorder.tracer()))
        .retry(Times(retries))
        .layer(AttemptLayer::new())
        .service_fn(move |message: Message| {
            let number = tries.fetch_add(1, Ordering::Relaxed) + 1;
            assert_eq!(message.extensions().get::<Trail>().unwrap().attempts(), number);
            handler(number, message)
        });
    run(service.oneshot(message(1)))
}

fn failing_until(last: u32) -> impl Fn(u32, Message) -> std::future::Ready<Result<(), BoxError>> + Clone {
    move |number, _| ready(if number < last { Err(format!("try {number}").into()) } else { Ok(()) })
}

/// The attempts in the order of their numbers, and the process span, which ends last.
fn exported(recorder: &Recorder) -> (Vec<SpanData>, SpanData) {
    let mut spans = recorder.spans();
    let process = spans.pop().unwrap();
    assert_eq!(process.span_kind, SpanKind::Consumer);
    spans
        .sort_by_key(|span| attribute(span, "throughline.attempt").unwrap().as_str().parse::<u32>().unwrap());
    let mut before = process.span_context.clone();
    for (at, span) in spans.iter().enumerate() {
        assert_eq!(span.span_kind, SpanKind::Internal);
        assert_eq!(attribute(span, "throughline.attempt").unwrap().as_str(), (at + 2).to_string());
        assert_eq!(span.parent_span_id, process.span_context.span_id());
        assert_eq!(links(span), [before], "to the try before");
        assert_eq!(attribute(span, "messaging.operation.type"), None, "it is no second process span");
        before = span.span_context.clone();
    }
    (spans, process)
}

#[test]
fn a_delivery_that_succeeds_at_once_has_no_attempt_span() {
    let recorder = Recorder::new();
    deliver(&recorder, 3, failing_until(1)).unwrap();
    let (attempts, process) = exported(&recorder);
    assert_eq!(attempts.len(), 0);
    assert_eq!(process.status, Status::Unset);
}

#[test]
fn a_failure_that_is_absorbed_is_not_an_error() {
    let recorder = Recorder::new();
    deliver(&recorder, 5, failing_until(4)).unwrap();
    let (attempts, process) = exported(&recorder);
    assert_eq!(process.status, Status::Unset);
    assert_eq!(attempts.len(), 3);
    let errors: Vec<_> = attempts.iter().map(|span| attribute(span, "throughline.attempt.error")).collect();
    assert_eq!(errors, [Some("_OTHER".into()), Some("_OTHER".into()), None]);
    assert!(attempts.iter().all(|span| span.status == Status::Unset));
    assert!(attempts.iter().all(|span| attribute(span, "error.type").is_none()));
}

#[test]
fn only_the_failure_that_surfaces_is_an_error() {
    let recorder = Recorder::new();
    deliver(&recorder, 2, failing_until(99)).unwrap_err();
    let (attempts, process) = exported(&recorder);
    let statuses: Vec<_> = attempts.iter().map(|span| span.status.clone()).collect();
    assert_eq!(statuses, [Status::Unset, Status::error("try 3")]);
    assert_eq!(attribute(&attempts[1], "error.type"), Some("_OTHER".into()));
    assert_eq!(process.status, Status::error("try 3"));
}

#[test]
fn a_failure_that_the_stack_turns_into_success_is_not_an_error() {
    let recorder = Recorder::new();
    let service = ServiceBuilder::new()
        .layer(TracingLayer::new(recorder.tracer()))
        .then(|_: Result<(), BoxError>| ready(Ok::<_, BoxError>(())))
        .retry(Times(1))
        .layer(AttemptLayer::new())
        .service_fn(|_: Message| ready(Err::<(), BoxError>("no".into())));
    run(service.oneshot(message(1))).unwrap();
    let (attempts, process) = exported(&recorder);
    assert_eq!((attempts.len(), process.status), (1, Status::Unset));
    assert_eq!(attempts[0].status, Status::Unset);
}

#[test]
fn an_attempt_ends_when_it_failed_and_not_when_that_is_known() {
    let recorder = Recorder::new();
    let service = ServiceBuilder::new()
        .layer(TracingLayer::new(recorder.tracer()))
        .then(|result: Result<(), BoxError>| async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            result
        })
        .retry(Times(1))
        .layer(AttemptLayer::new())
        .service_fn(|_: Message| ready(Err::<(), BoxError>("no".into())));
    run(service.oneshot(message(1))).unwrap_err();
    let (attempts, process) = exported(&recorder);
    assert_eq!(attempts[0].status, Status::error("no"));
    assert!(attempts[0].end_time + Duration::from_millis(40) < process.end_time);
}

#[test]
fn the_attempt_is_current_and_the_parent_of_what_it_sends() {
    let recorder = Recorder::new();
    deliver(&recorder, 1, |number, _| async move {
        tokio::task::yield_now().await;
        let id = Context::current().span().span_context().span_id();
        Err(format!("{number} {id}").into())
    })
    .unwrap_err();
    let (attempts, _) = exported(&recorder);
    assert_eq!(attempts[0].status, Status::error(format!("2 {}", attempts[0].span_context.span_id())));
}

#[test]
fn an_attempt_that_is_cancelled_or_panics_ends_once() {
    for panics in [false, true] {
        let recorder = Recorder::new();
        let service = ServiceBuilder::new()
            .layer(TracingLayer::new(recorder.tracer()))
            .retry(Times(1))
            .layer(AttemptLayer::new())
            .service_fn(move |message: Message| async move {
                match message.extensions().get::<Trail>().unwrap().attempts() {
                    1 => Err::<(), BoxError>("first".into()),
                    _ if panics => panic!("on purpose"),
                    _ => std::future::pending().await,
                }
            });
        let _ = catch_unwind(AssertUnwindSafe(|| {
            run(async { tokio::time::timeout(Duration::from_millis(20), service.oneshot(message(1))).await })
        }));
        let (attempts, process) = exported(&recorder);
        assert_eq!(attempts.len(), 1);
        let want = if panics { "panic" } else { "cancelled" };
        assert_eq!(attribute(&attempts[0], "error.type"), Some(want.into()));
        assert_eq!(attribute(&process, "error.type"), Some(want.into()));
    }
}

#[test]
fn without_a_tracing_layer_an_attempt_is_only_passed_through() {
    let service = ServiceBuilder::new()
        .retry(Times(1))
        .layer(AttemptLayer::new())
        .service_fn(|_: Message| ready(Err::<(), BoxError>("no".into())));
    run(service.oneshot(message(1))).unwrap_err();
}
