//! Ordering keys do not add up: the official client has a task for each that it ever saw, and ours lets go of them.

use crate::site::Project;
use google_cloud_pubsub::model::Message as Raw;
use std::{future::poll_fn, ops::Range, time::Duration};
use throughline::{Endpoint, Message, pubsub::PubSubSink};
use throughline_test::conformance::Broker;
use throughline_tests::resident_of;
use tokio::task::JoinSet;
use tower::Service;

/// Two generations of publishers have come and gone after these.
const FIRST: usize = 25_000;
const ALL: usize = 100_000;
/// What three times as many more may add; the client alone keeps some kilobytes of each.
const GROWTH: u64 = 16 << 20;
/// Of which the client alone is given these.
const RAW: usize = 10_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_does_not_grow_with_the_keys_that_were_used() {
    let broker = Project::new();
    let topic = broker.fresh_name("keys");
    broker.pubsub.create_topic(&topic).await.unwrap();
    let sink = broker.sink(&topic);
    send(&sink, 0..FIRST).await;
    let before = resident();
    send(&sink, FIRST..ALL).await;
    let grown = resident().saturating_sub(before);
    println!("{} more keys: {} KiB more", ALL - FIRST, grown >> 10);
    assert!(grown < GROWTH, "{} KiB for {} keys", grown >> 10, ALL - FIRST);

    let (raw, before) = (broker.publisher(&topic).await, resident());
    for chunk in 0..RAW / 1_000 {
        let sent = (0..1_000)
            .map(|n| raw.publish(Raw::new().set_data("x").set_ordering_key(format!("raw-{chunk}-{n}"))));
        let mut sent: JoinSet<_> = sent.collect();
        while let Some(sent) = sent.join_next().await {
            sent.unwrap().unwrap();
        }
    }
    let grown = resident().saturating_sub(before);
    println!("{RAW} keys in the client alone: {} KiB more, {} bytes each", grown >> 10, grown / RAW as u64);
}

/// One message of each key.
async fn send(sink: &PubSubSink, keys: Range<usize>) {
    let mut sink = sink.clone();
    for key in keys {
        poll_fn(|cx| sink.poll_ready(cx)).await.unwrap();
        // Its answer comes to the flush.
        drop(sink.call(Message::new("x").with_key(format!("key-{key}"))));
    }
    sink.flush().await.unwrap();
    // A generation that has nothing left ends by itself, and tells nobody.
    tokio::time::sleep(Duration::from_millis(500)).await;
}

fn resident() -> u64 {
    resident_of(std::process::id()).expect("this test reads /proc")
}
