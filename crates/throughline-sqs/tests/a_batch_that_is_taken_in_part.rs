//! Sends whose batch is taken in part, refused as a whole, or never answered.

#![allow(clippy::unwrap_used, reason = "a test says that it failed by a panic")]

mod common;

use common::{Call, Fake, Say, request_id};
use serde_json::{Value, json};
use std::future::poll_fn;
use throughline_core::{Endpoint, Error, ErrorKind, Message, Receipt};
use throughline_sqs::SqsSink;
use tokio::task::JoinSet;
use tower_service::Service;

/// Sends all at once; the answers, in their order.
async fn send(sink: &mut SqsSink, bodies: &[&str]) -> Vec<Result<Receipt, Error>> {
    let mut sends = JoinSet::new();
    for (n, body) in bodies.iter().enumerate() {
        poll_fn(|cx| sink.poll_ready(cx)).await.unwrap();
        let send = sink.call(Message::new((*body).to_owned()));
        sends.spawn(async move { (n, send.await) });
    }
    let mut all = sends.join_all().await;
    all.sort_by_key(|(n, _)| *n);
    all.into_iter().map(|(_, result)| result).collect()
}

/// Each entry is answered for itself: who is at fault decides whether it is worth another try.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_entry_has_its_own_answer() {
    let fake = Fake::start(|call: &Call| {
        (call.action == "SendMessageBatch").then(|| {
            let entries = call.body["Entries"].as_array().unwrap();
            let of = |body: &str| entries.iter().filter(|entry| entry["MessageBody"] == body).cloned().collect::<Vec<Value>>();
            let failed = |entry: Value, code: &str, fault: bool| json!({"Id": entry["Id"], "Code": code, "SenderFault": fault});
            let good = of("good").into_iter().map(|entry| json!({"Id": entry["Id"], "MessageId": "m-1", "MD5OfMessageBody": "x"}));
            let bad = of("bad").into_iter().map(|entry| failed(entry, "InvalidMessageContents", true));
            let unlucky = of("unlucky").into_iter().map(|entry| failed(entry, "InternalError", false));
            Say::Ok(json!({"Successful": good.collect::<Vec<_>>(), "Failed": bad.chain(unlucky).collect::<Vec<_>>()}))
        })
    })
    .await;
    let mut sink = fake.sqs.queue(fake.url());
    let answers = send(&mut sink, &["good", "bad", "unlucky", "forgotten"]).await;
    let receipt = answers[0].as_ref().unwrap();
    assert_eq!(receipt.id.as_deref(), Some("m-1"));
    let request = receipt.request.as_ref().unwrap();
    assert_eq!(request.id.as_deref(), Some(&*request_id("SendMessageBatch")));
    assert_eq!(request.url, None, "known before");
    let kinds: Vec<_> = answers[1..].iter().map(|answer| answer.as_ref().unwrap_err().kind()).collect();
    assert_eq!(kinds, [ErrorKind::Unrepresentable, ErrorKind::Broker, ErrorKind::Broker]);
    assert!(
        !answers[1].as_ref().unwrap_err().is_retriable() && answers[2].as_ref().unwrap_err().is_retriable()
    );
    sink.flush().await.unwrap();
}

/// A call that is refused is told to each of its messages, and a flush tells of those whose answer nobody awaited.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_call_is_told_to_each_message() {
    let fake = Fake::start(|call: &Call| {
        (call.action == "SendMessageBatch").then_some(Say::Error(400, "QueueDoesNotExist"))
    })
    .await;
    let mut sink = fake.sqs.queue(fake.url());
    for answer in send(&mut sink, &["1", "2", "3"]).await {
        let error = answer.unwrap_err();
        assert_eq!((error.kind(), error.resource()), (ErrorKind::NotFound, "q"));
    }
    sink.flush().await.unwrap();
    poll_fn(|cx| sink.poll_ready(cx)).await.unwrap();
    drop(sink.call(Message::new("unheard")));
    let error = sink.flush().await.unwrap_err();
    assert!(error.to_string().contains("1 messages were not confirmed"), "{error}");
}

/// A call that is refused for one of its messages is made again for each alone, so that no other pays for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_refused_for_one_message_costs_no_other() {
    let fake = Fake::start(|call: &Call| {
        let entries = call.body["Entries"].as_array()?;
        let bad = entries.iter().any(|entry| entry["MessageBody"] == "bad");
        bad.then_some(Say::Error(400, "InvalidParameterValue"))
    })
    .await;
    let mut sink = fake.sqs.queue(fake.url());
    let answers = send(&mut sink, &["1", "2", "bad", "3"]).await;
    let kinds: Vec<_> = answers.iter().map(|answer| answer.as_ref().err().map(Error::kind)).collect();
    assert_eq!(kinds, [None, None, Some(ErrorKind::Config), None]);
    sink.flush().await.unwrap();
}

/// What is sent in one go goes in batches of ten, and none is larger than SQS takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_are_full_and_not_too_large() {
    let fake = Fake::start(|_: &Call| None).await;
    let mut sink = fake.sqs.queue(fake.url());
    let answers = send(&mut sink, &["x"; 40]).await;
    assert!(answers.iter().all(Result::is_ok));
    assert!(fake.calls("SendMessageBatch").len() <= 5, "{}", fake.calls("SendMessageBatch").len());
    let before = fake.calls("SendMessageBatch").len();
    let large = "x".repeat(400_000);
    let answers = send(&mut sink, &[large.as_str(); 6]).await;
    assert!(answers.iter().all(Result::is_ok));
    for call in &fake.calls("SendMessageBatch")[before..] {
        assert!(call.body["Entries"].as_array().unwrap().len() <= 2, "more than a mebibyte");
    }
}
