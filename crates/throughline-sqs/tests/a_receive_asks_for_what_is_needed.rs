//! What a receive asks for: everything that carries a context whatever the user wants, and no more messages than there is
//! room for.

#![allow(clippy::unwrap_used, reason = "a test says that it failed by a panic")]

mod common;

use common::{Call, Fake, subscribe, until};
use std::collections::BTreeSet;
use throughline_core::Source;
use throughline_sqs::SqsSubscription;
use tokio::runtime::Handle;

/// The first receive of a worker with room for so many.
async fn first(room: usize, change: impl FnOnce(SqsSubscription) -> SqsSubscription) -> Call {
    let fake = Fake::start(|_: &Call| None).await;
    let subscription = change(fake.sqs.subscribe(fake.url()));
    let (mut source, control, _) = subscribe(&subscription, room).await;
    let receiving = Handle::current().spawn(async move { source.receive().await });
    until("a receive", || !fake.calls("ReceiveMessage").is_empty()).await;
    control.stop();
    assert!(receiving.await.unwrap().unwrap().is_empty());
    fake.calls("ReceiveMessage").remove(0)
}

fn names<'a>(call: &'a Call, field: &str) -> BTreeSet<&'a str> {
    call.body[field].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_carries_a_context_is_asked_for() {
    let plain = first(10, |subscription| subscription).await;
    assert_eq!(names(&plain, "MessageAttributeNames"), BTreeSet::from(["All"]));
    let chosen = first(10, |subscription| subscription.attributes(["only-this"])).await;
    let asked = names(&chosen, "MessageAttributeNames");
    for name in ["only-this", "traceparent", "tracestate", "baggage", "throughline-key"] {
        assert!(asked.contains(name), "{name} of {asked:?}");
    }
    assert!(!asked.contains("All"));
    let system = BTreeSet::from([
        "AWSTraceHeader",
        "ApproximateFirstReceiveTimestamp",
        "ApproximateReceiveCount",
        "DeadLetterQueueSourceArn",
        "MessageDeduplicationId",
        "MessageGroupId",
        "SentTimestamp",
        "SequenceNumber",
    ]);
    assert_eq!(
        (names(&plain, "MessageSystemAttributeNames"), names(&chosen, "MessageSystemAttributeNames")),
        (system.clone(), system)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_is_asked_for_than_can_be_started() {
    for (room, asked) in [(1, 1), (3, 3), (10, 10), (64, 10)] {
        let call = first(room, |subscription| subscription).await;
        assert_eq!(call.body["MaxNumberOfMessages"], asked, "with room for {room}");
    }
}
