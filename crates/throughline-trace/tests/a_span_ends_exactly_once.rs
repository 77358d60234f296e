//! Whatever becomes of the work, its span ends once, and its context is current to the last.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test; some of its services panic")]

mod common;

use common::{Recorder, attribute, message, run};
use opentelemetry::{
    Context,
    trace::{SpanContext, Status, TraceContextExt},
};
use std::{
    convert::Infallible,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::{Arc, Mutex},
    task::{Poll, Waker},
};
use throughline_core::{Destination, Message};
use throughline_trace::{MirrorLayer, TracingLayer};
use tower::{Layer, Service};

/// What a future does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Does {
    Finishes,
    Fails,
    Waits,
    PanicsInCall,
    PanicsInPoll,
    PanicsInDrop,
}

/// Notes what was current in call, poll and drop.
type Seen = Arc<Mutex<Vec<(&'static str, SpanContext)>>>;

#[derive(Clone)]
struct Probe(Does, Seen);

struct ProbeFuture(Does, Seen);

fn note(seen: &Seen, place: &'static str) {
    let current = Context::current().span().span_context().clone();
    seen.lock().unwrap().push((place, current));
}

impl Service<Message> for Probe {
    type Response = ();
    type Error = String;
    type Future = ProbeFuture;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> Poll<Result<(), String>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Message) -> ProbeFuture {
        note(&self.1, "call");
        assert_ne!(self.0, Does::PanicsInCall, "on purpose");
        ProbeFuture(self.0, self.1.clone())
    }
}

impl Future for ProbeFuture {
    type Output = Result<(), String>;

    fn poll(self: Pin<&mut Self>, _: &mut std::task::Context<'_>) -> Poll<Self::Output> {
        note(&self.1, "poll");
        match self.0 {
            Does::Finishes | Does::PanicsInDrop => Poll::Ready(Ok(())),
            Does::Fails => Poll::Ready(Err("failed".into())),
            Does::Waits => Poll::Pending,
            Does::PanicsInCall | Does::PanicsInPoll => panic!("on purpose"),
        }
    }
}

impl Drop for ProbeFuture {
    fn drop(&mut self) {
        note(&self.1, "drop");
        if self.0 == Does::PanicsInDrop && !std::thread::panicking() {
            panic!("on purpose");
        }
    }
}

/// Calls, polls twice unless it is done, drops.
fn drive<S>(mut service: S)
where
    S: Service<Message, Response = (), Error = String>,
{
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let mut future = pin!(service.call(message(1)));
        let mut cx = std::task::Context::from_waker(Waker::noop());
        for _ in 0..2 {
            if future.as_mut().poll(&mut cx).is_ready() {
                break;
            }
        }
    }));
    drop(outcome);
    assert!(!Context::current().span().span_context().is_valid(), "nothing stays current");
}

#[test]
fn however_it_ends() {
    let cases = [
        (Does::Finishes, None, &["call", "poll", "drop"][..]),
        (Does::Fails, Some("_OTHER"), &["call", "poll", "drop"]),
        (Does::Waits, Some("cancelled"), &["call", "poll", "poll", "drop"]),
        (Does::PanicsInCall, Some("panic"), &["call"]),
        (Does::PanicsInPoll, Some("panic"), &["call", "poll", "drop"]),
        (Does::PanicsInDrop, Some("panic"), &["call", "poll", "drop"]),
    ];
    for (does, error_type, places) in cases {
        for mirror in [false, true] {
            let recorder = Recorder::new();
            let seen = Seen::default();
            let probe = Probe(does, seen.clone());
            if mirror {
                let destination = Arc::new(Destination::new("kafka", "orders"));
                drive(MirrorLayer::new(destination).spans(recorder.tracer()).layer(probe));
            } else {
                drive(TracingLayer::new(recorder.tracer()).layer(probe));
            }
            let spans = recorder.spans();
            assert_eq!(spans.len(), 1, "{does:?}: the span ends once");
            let found = attribute(&spans[0], "error.type").map(|value| value.to_string());
            assert_eq!(found.as_deref(), error_type, "{does:?}");
            assert_eq!(spans[0].status == Status::Unset, error_type.is_none(), "{does:?}");
            let seen = seen.lock().unwrap();
            assert_eq!(seen.iter().map(|(place, _)| *place).collect::<Vec<_>>(), places, "{does:?}");
            for (place, context) in seen.iter() {
                assert_eq!(context, &spans[0].span_context, "current in {place} when it {does:?}");
            }
        }
    }
}

#[test]
fn a_future_that_was_never_polled_is_cancelled() {
    let recorder = Recorder::new();
    let probe = Probe(Does::Finishes, Seen::default());
    drop(TracingLayer::new(recorder.tracer()).layer(probe).call(message(1)));
    assert_eq!(attribute(&recorder.named("process"), "error.type"), Some("cancelled".into()));
}

#[test]
fn a_panic_does_not_spoil_the_next_message() {
    let recorder = Recorder::new();
    let service = tower::service_fn(|message: Message| async move {
        assert_ne!(message.payload().as_ref(), b"bad", "on purpose");
        Ok::<_, Infallible>(())
    });
    let mut service = TracingLayer::new(recorder.tracer()).layer(service);
    for payload in ["bad", "good"] {
        let future = service.call(Message::new(payload));
        let _ = catch_unwind(AssertUnwindSafe(|| run(future)));
    }
    let errors: Vec<_> = recorder.spans().iter().map(|span| attribute(span, "error.type")).collect();
    assert_eq!(errors, [Some("panic".into()), None]);
}
