//! FC-29 and the rest of what may become of a batch of answers: some fail, all fail, none is answered.

#![allow(clippy::unwrap_used, reason = "a test says that it failed by a panic")]

mod common;

use common::{Call, Fake, Say, messages, request_id, subscribe, until};
use serde_json::json;
use std::{
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    time::{Duration, Instant},
};
use throughline_core::{Settlement, Settler, Source};

fn first(
    action: &'static str,
    ids: &'static [&'static str],
    say: impl Fn(&Call, usize) -> Option<Say> + Send + Sync + 'static,
) -> impl Fn(&Call) -> Option<Say> + Send + Sync + 'static {
    let (receives, calls) = (AtomicUsize::new(0), AtomicUsize::new(0));
    move |call| match call.action.as_str() {
        "ReceiveMessage" if receives.fetch_add(1, SeqCst) == 0 => Some(messages(ids)),
        of if of == action => say(call, calls.fetch_add(1, SeqCst)),
        _ => None,
    }
}

fn failed(code: &str, sender_fault: bool, handle: &str, call: &Call) -> Say {
    let entries = call.body["Entries"].as_array().unwrap();
    let is_it = |entry: &&serde_json::Value| entry["ReceiptHandle"] == handle;
    let bad = entries
        .iter()
        .filter(is_it)
        .map(|entry| json!({"Id": entry["Id"], "Code": code, "SenderFault": sender_fault}));
    let good = entries.iter().filter(|entry| !is_it(entry)).map(|entry| json!({"Id": entry["Id"]}));
    Say::Ok(json!({"Successful": good.collect::<Vec<_>>(), "Failed": bad.collect::<Vec<_>>()}))
}

/// A receipt that is no longer valid costs its own message, which counts as a lost lease: the others are deleted, and it is
/// not tried again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalid_receipt_is_a_lost_lease_and_is_not_tried_again() {
    let say = |call: &Call, _| Some(failed("ReceiptHandleIsInvalid", true, "handle-b", call));
    let fake = Fake::start(first("DeleteMessageBatch", &["a", "b", "c"], say)).await;
    let (mut source, control, heard) = subscribe(&fake.sqs.subscribe(fake.url()), 10).await;
    for delivery in source.receive().await.unwrap() {
        delivery.settler.settle(Settlement::Ack).await.unwrap();
    }
    until("the loss", || heard.lost.load(SeqCst) == 1).await;
    assert_eq!((heard.confirmed.load(SeqCst), heard.refused.load(SeqCst)), (2, 1));
    assert_eq!(*heard.requests.lock().unwrap(), [request_id("DeleteMessageBatch")]);
    control.stop();
    assert!(source.receive().await.unwrap().is_empty());
    source.close(Instant::now() + Duration::from_secs(20)).await.unwrap();
    assert_eq!(fake.calls("DeleteMessageBatch").len(), 1);
}

/// An entry that failed for a passing reason is tried again alone, until it is taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_failed_is_tried_again_alone() {
    let say = |call: &Call, n| (n < 2).then(|| failed("InternalError", false, "handle-b", call));
    let fake = Fake::start(first("DeleteMessageBatch", &["a", "b", "c"], say)).await;
    let (mut source, _control, heard) = subscribe(&fake.sqs.subscribe(fake.url()), 10).await;
    for delivery in source.receive().await.unwrap() {
        delivery.settler.settle(Settlement::Ack).await.unwrap();
    }
    until("all are confirmed", || heard.confirmed.load(SeqCst) == 3).await;
    let calls = fake.calls("DeleteMessageBatch");
    let sizes: Vec<_> = calls.iter().map(|call| call.body["Entries"].as_array().unwrap().len()).collect();
    assert_eq!((sizes, heard.refused.load(SeqCst), heard.lost.load(SeqCst)), (vec![3, 1, 1], 0, 0));
}

/// Nothing is settled for a message that was given back by being dropped, but that it is visible again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_dropped_is_visible_again_and_never_deleted() {
    let fake = Fake::start(first("-", &["a"], |_, _| None)).await;
    let (mut source, _control, _) = subscribe(&fake.sqs.subscribe(fake.url()), 10).await;
    drop(source.receive().await.unwrap());
    until("it is told", || !fake.calls("ChangeMessageVisibilityBatch").is_empty()).await;
    let call = &fake.calls("ChangeMessageVisibilityBatch")[0].body["Entries"][0];
    assert_eq!((&call["ReceiptHandle"], &call["VisibilityTimeout"]), (&json!("handle-a"), &json!(0)));
    assert!(fake.calls("DeleteMessageBatch").is_empty());
}

/// The lease of what waits is extended at half its time, in one call for ten messages, until it is settled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_are_extended_together_at_half_their_time() {
    const IDS: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
    let fake = Fake::start(first("-", &IDS, |_, _| None)).await;
    let subscription = fake.sqs.subscribe(fake.url()).visibility(Duration::from_secs(4));
    let (mut source, _control, heard) = subscribe(&subscription, 10).await;
    let since = Instant::now();
    let held = source.receive().await.unwrap();
    until("two extensions", || fake.calls("ChangeMessageVisibilityBatch").len() >= 2).await;
    let calls = fake.calls("ChangeMessageVisibilityBatch");
    for (n, call) in calls.iter().take(2).enumerate() {
        let entries = call.body["Entries"].as_array().unwrap();
        assert_eq!((entries.len(), &entries[0]["VisibilityTimeout"]), (10, &json!(4)));
        let at = call.at.duration_since(since);
        let (earliest, latest) =
            (Duration::from_millis(1_500 * (n as u64 + 1)), Duration::from_millis(3_000 * (n as u64 + 1)));
        assert!((earliest..latest).contains(&at), "extension {n} after {at:?}");
    }
    assert!(held.iter().all(|delivery| !delivery.lease.is_lost()) && heard.lost.load(SeqCst) == 0);
    for delivery in held {
        delivery.settler.settle(Settlement::Ack).await.unwrap();
    }
    until("all are deleted", || heard.confirmed.load(SeqCst) == 10).await;
    let extended = fake.calls("ChangeMessageVisibilityBatch").len();
    // Longer than half a lease: nothing that was settled is extended.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(fake.calls("ChangeMessageVisibilityBatch").len(), extended);
}

/// A lease that could not be extended ends: that is told, and the answer that comes later is refused and not sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_ended_is_lost_and_nothing_is_deleted() {
    let say = |_: &Call, _| Some(Say::Error(500, "InternalError"));
    let fake = Fake::start(first("ChangeMessageVisibilityBatch", &["a"], say)).await;
    let subscription = fake.sqs.subscribe(fake.url()).visibility(Duration::from_secs(2));
    let (mut source, _control, heard) = subscribe(&subscription, 10).await;
    let delivery = source.receive().await.unwrap().pop().unwrap();
    until("the loss", || delivery.lease.is_lost()).await;
    assert_eq!(heard.lost.load(SeqCst), 1);
    let error = delivery.settler.settle(Settlement::Ack).await.unwrap_err();
    assert_eq!((error.kind(), error.resource()), (throughline_core::ErrorKind::LeaseLost, "a"));
    assert!(fake.calls("DeleteMessageBatch").is_empty());
}
