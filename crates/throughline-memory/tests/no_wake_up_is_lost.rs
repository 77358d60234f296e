//! On several threads: senders that meet a full log, members that come and go, answers from elsewhere.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test may panic and has tasks of its own"
)]

mod common;

use common::*;
use futures_util::future::poll_fn;
use std::time::Duration;
use throughline_core::{Message, Settlement, Settler, Source};
use throughline_memory::Memory;
use tower_service::Service;

const SENDERS: usize = 4;
const EACH: usize = 5_000;

async fn publish(broker: Memory) {
    let mut sink = broker.topic("t");
    for n in 0..EACH {
        poll_fn(|cx| sink.poll_ready(cx)).await.unwrap();
        sink.call(Message::new("x").with_key(n.to_string())).await.unwrap();
    }
}

/// Receives this many batches and answers them from another task; then leaves.
async fn consume(broker: Memory, batches: usize) {
    let mut member = Member::with_room(&broker.subscribe("t").group("g"), 16);
    for _ in 0..batches {
        let batch = member.source.receive().await.unwrap();
        let answered = tokio::spawn(async move {
            // Every seventh is given back.
            for (_, delivery) in (0..).zip(batch).filter(|(n, _)| n % 7 != 6) {
                let _ = delivery.settler.settle(Settlement::Ack).await;
            }
        });
        if batches.is_multiple_of(2) {
            answered.await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn everything_sent_is_done_in_the_end() {
    let broker = Memory::new().capacity(50);
    broker.create_topic("t", 6).unwrap();
    let senders: Vec<_> = (0..SENDERS).map(|_| tokio::spawn(publish(broker.clone()))).collect();
    let steady = tokio::spawn(consume(broker.clone(), usize::MAX));
    let guests = tokio::spawn({
        let broker = broker.clone();
        async move {
            for batches in (0..40).map(|n| n % 5) {
                consume(broker.clone(), batches).await;
            }
        }
    });
    let done = async {
        for sender in senders {
            sender.await.unwrap();
        }
        broker.caught_up("t", "g").await;
    };
    tokio::time::timeout(Duration::from_secs(60), done).await.expect("nothing stalls");
    assert_eq!(broker.counters().published as usize, SENDERS * EACH);
    assert_eq!(broker.lag("t", "g"), 0);
    guests.abort();
    steady.abort();
}
