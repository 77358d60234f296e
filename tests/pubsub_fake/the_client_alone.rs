//! What the official client does by itself, on which the adapter's rules rest.

use crate::fake::{Fake, PERMANENT, Script};
use google_cloud_auth::credentials::anonymous;
use google_cloud_pubsub::{
    client::Subscriber,
    error::AckError,
    subscriber::{MessageStream, handler::Handler},
};
use opentelemetry::{
    Context,
    trace::{FutureExt as _, SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState},
};
use std::time::{Duration, Instant};
use throughline_tests::{until, within};
use tonic::Status;

const SUBSCRIPTION: &str = "projects/p/subscriptions/s";

async fn open(fake: &Fake) -> MessageStream {
    let credentials = anonymous::Builder::new().build();
    let client = Subscriber::builder().with_endpoint(fake.endpoint()).with_credentials(credentials);
    client.build().await.unwrap().subscribe(SUBSCRIPTION).set_max_outstanding_messages(20).build()
}

async fn next(stream: &mut MessageStream) -> (String, Handler) {
    let (message, handler) = within("a message", stream.next()).await.unwrap().unwrap();
    (String::from_utf8(message.data.to_vec()).unwrap(), handler)
}

/// The plain way, as on any server.
#[tokio::test]
async fn a_message_comes_and_its_answer_goes() {
    let fake = Fake::start(Script::default()).await;
    fake.put(["a", "b"]);
    let mut stream = open(&fake).await;
    let (first, handler) = next(&mut stream).await;
    assert_eq!(first, "a");
    handler.ack();
    next(&mut stream).await.1.nack();
    until("both answers", || (fake.acked().len(), fake.nacked().len()) == (1, 1)).await;
    assert_eq!(next(&mut stream).await.0, "b");
}

/// Only an acknowledgement of an exactly-once subscription has a result.
#[tokio::test]
async fn a_refused_acknowledgement_of_exactly_once_is_told() {
    let ack_failures = [("a".to_owned(), vec![PERMANENT])].into();
    let fake = Fake::start(Script { exactly_once: true, ack_failures, ..Script::default() }).await;
    fake.put(["a", "b"]);
    let mut stream = open(&fake).await;
    for refused in [true, false] {
        let (_, Handler::ExactlyOnce(handler)) = next(&mut stream).await else {
            unreachable!("the stream said that it is of exactly once")
        };
        let answer = handler.confirmed_ack().await;
        assert_eq!(matches!(answer, Err(AckError::Rpc { .. })), refused, "{answer:?}");
    }
}

/// Nobody sees it from outside.
#[tokio::test]
async fn a_stream_that_is_reset_is_opened_again_at_once() {
    let fake = Fake::start(Script::default()).await;
    fake.put([0]);
    let mut stream = open(&fake).await;
    next(&mut stream).await.1.ack();
    let since = Instant::now();
    fake.reset(Status::unavailable("reset"));
    fake.put([1]);
    assert_eq!(next(&mut stream).await.0, "1");
    assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
    assert_eq!(fake.streams().len(), 2);
}

/// What nobody asks for is not leased, however much the server sends.
#[tokio::test]
async fn what_is_leased_ahead_is_one_response() {
    let fake = Fake::start(Script { obeys_flow: false, per_response: 5, ..Script::default() }).await;
    fake.put(0..100);
    let mut stream = open(&fake).await;
    let _held = next(&mut stream).await;
    until("everything is sent", || fake.held() == (100, 0)).await;
    until("the leases are extended", || !fake.extended().is_empty()).await;
    assert_eq!(fake.extended().len(), 5);
}

/// The context of whoever polls the stream goes into the metadata of its opening, and with no later call.
#[tokio::test]
async fn a_stream_is_opened_in_the_context_of_who_polls_it() {
    let fake = Fake::start(Script::default()).await;
    fake.put(["a"]);
    let mut stream = open(&fake).await;
    let (trace, span) = (TraceId::from(7), SpanId::from(7));
    let span = SpanContext::new(trace, span, TraceFlags::SAMPLED, true, TraceState::default());
    let user = Context::new().with_remote_span_context(span);
    next(&mut stream).with_context(user).await.1.ack();
    until("the ack", || fake.acked().len() == 1).await;
    let contexts = |method| fake.calls(method).into_iter().map(|call| call.traceparent).collect::<Vec<_>>();
    assert!(contexts("StreamingPull")[0].as_deref().unwrap().contains(&trace.to_string()));
    assert_eq!(contexts("Acknowledge"), [None]);
}
