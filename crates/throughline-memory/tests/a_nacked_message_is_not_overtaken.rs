//! Redelivery: at once or after a delay, counted, and in the order of the key.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test may panic and has tasks of its own"
)]

mod common;

use common::*;
use std::time::Duration;
use throughline_core::{Message, Settlement};

#[tokio::test(start_paused = true)]
async fn nothing_later_of_its_key_comes_before_it_and_all_else_does() {
    let broker = broker(1);
    send(&broker, keyed("k"));
    let mut member = Member::join(&broker.subscribe("t").group("g"));
    settle(member.now().remove(0), Settlement::retry_after(Duration::from_secs(5)));
    send_keyed(&broker, ["k", "x", "", "k"]);
    let others = member.now();
    assert_eq!(offsets(&others), [2, 3], "another key, and none");
    others.into_iter().for_each(ack);
    assert_eq!(broker.committed("t", "g", 0), 0);
    let begun = tokio::time::Instant::now();
    let batch = member.next().await;
    assert_eq!((offsets(&batch), begun.elapsed().as_secs()), (vec![0, 1, 4], 5));
    assert_eq!(batch.iter().map(count).collect::<Vec<_>>(), [2, 1, 1]);
    batch.into_iter().for_each(ack);
    assert_eq!(broker.committed("t", "g", 0), 5);
}

#[tokio::test(start_paused = true)]
async fn a_message_without_a_key_blocks_nothing() {
    let broker = broker(1);
    send(&broker, keyed(""));
    let mut member = Member::join(&broker.subscribe("t").group("g"));
    settle(member.now().remove(0), Settlement::retry_after(Duration::from_secs(5)));
    send(&broker, keyed(""));
    assert_eq!(offsets(&member.now()), [1]);
}

#[tokio::test(start_paused = true)]
async fn an_empty_key_is_a_key() {
    let broker = broker(1);
    let empty = || Message::new("x").with_key("").with_partition(0);
    send(&broker, empty());
    let mut member = Member::join(&broker.subscribe("t").group("g"));
    settle(member.now().remove(0), Settlement::retry_after(Duration::from_secs(5)));
    send(&broker, empty());
    assert!(member.now().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_earlier_of_two_given_back_goes_first_whatever_their_delays() {
    let broker = broker(1);
    send_keyed(&broker, ["k", "k"]);
    let mut member = Member::join(&broker.subscribe("t").group("g"));
    let mut batch = member.now();
    // The later one is given back first, and may come at once.
    drop(batch.pop());
    settle(batch.remove(0), Settlement::retry_after(Duration::from_secs(2)));
    assert!(member.now().is_empty());
    let batch = member.next().await;
    assert_eq!(offsets(&batch), [0, 1]);
    assert_eq!((count(&batch[0]), count(&batch[1])), (2, 2));
}

#[tokio::test]
async fn a_dropped_delivery_comes_again_and_is_counted() {
    let broker = broker(1);
    send(&broker, keyed("k"));
    let mut member = Member::join(&broker.subscribe("t").group("g"));
    for delivery_count in 1..=3 {
        let batch = member.now();
        assert_eq!(count(&batch[0]), delivery_count);
    }
    let counters = broker.counters();
    assert_eq!((counters.delivered, counters.redelivered, counters.dropped, counters.acked), (3, 2, 3, 0));
    assert_eq!(broker.committed("t", "g", 0), 0);
}
