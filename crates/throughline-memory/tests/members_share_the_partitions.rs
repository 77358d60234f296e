//! A partition goes to one member at a time, and moves without loss.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test may panic and has tasks of its own"
)]

mod common;

use common::*;
use futures_util::future::FutureExt;
use std::collections::BTreeSet;
use throughline_core::{ErrorKind, Message, Settlement, Settler, Source};

fn fill(broker: &throughline_memory::Memory, partitions: i32, each: usize) {
    for partition in (0..partitions).flat_map(|partition| std::iter::repeat_n(partition, each)) {
        send(broker, Message::new("x").with_partition(partition));
    }
}

fn partitions(batch: &[Given]) -> BTreeSet<i32> {
    batch.iter().map(partition).collect()
}

#[tokio::test]
async fn two_members_have_half_each_and_one_that_leaves_gives_all_back() {
    let broker = broker(4);
    fill(&broker, 4, 2);
    let subscription = broker.subscribe("t").group("g");
    let (mut a, mut b) = (Member::join(&subscription), Member::join(&subscription));
    let (of_a, of_b) = (a.now(), b.now());
    assert_eq!((partitions(&of_a).len(), partitions(&of_b).len()), (2, 2));
    assert!(partitions(&of_a).is_disjoint(&partitions(&of_b)));
    of_a.into_iter().for_each(ack);
    let gone = partitions(&of_b);
    drop(of_b);
    b.source.close(std::time::Instant::now()).await.unwrap();
    let moved = a.now();
    assert_eq!((partitions(&moved), moved.len()), (gone, 4));
    moved.into_iter().for_each(ack);
    assert_eq!(broker.lag("t", "g"), 0);
}

#[tokio::test]
async fn a_revoked_partition_begins_again_at_its_commit_and_late_answers_count_for_nothing() {
    let broker = broker(2);
    fill(&broker, 2, 3);
    let subscription = broker.subscribe("t").group("g");
    let mut a = Member::join(&subscription);
    let mut held = a.now();
    assert_eq!(held.len(), 6);
    assert!(held.iter().all(|delivery| !delivery.lease.is_lost()));
    // Of each partition the middle one is done: out of order, so not committed.
    for at in [4, 1] {
        ack(held.remove(at));
    }
    let mut b = Member::join(&subscription);
    let of_b = b.now();
    let (moved, kept) = (*partitions(&of_b).first().unwrap(), 1 - *partitions(&of_b).first().unwrap());
    assert_eq!(offsets(&of_b), [0, 1, 2], "all from the commit on");
    for delivery in held {
        assert_eq!(delivery.lease.is_lost(), partition(&delivery) == moved);
        let lost = partition(&delivery) == moved;
        let answer = delivery.settler.settle(Settlement::Ack).now_or_never().unwrap();
        assert_eq!(answer.err().map(|error| error.kind()), lost.then_some(ErrorKind::LeaseLost));
    }
    assert_eq!((broker.committed("t", "g", moved), broker.committed("t", "g", kept)), (0, 3));
    assert_eq!(broker.counters().late, 2);
    of_b.into_iter().for_each(ack);
    assert!(a.now().is_empty());
    assert_eq!(
        a.events(),
        ["+2 -0", "received 6", "lost 2", "+0 -1", &format!("committed {kept}@3"), &format!("lag {kept}=0")]
    );
    assert_eq!(broker.lag("t", "g"), 0);
}

#[tokio::test]
async fn a_member_that_waits_is_woken_by_a_message_a_rebalance_and_its_own_nack() {
    let broker = broker(2);
    let subscription = broker.subscribe("t").group("g");
    let mut a = Member::join(&subscription);
    let b = Member::join(&subscription);
    let waits = tokio::spawn(async move {
        let batch = a.next().await;
        (a, batch)
    });
    tokio::task::yield_now().await;
    fill(&broker, 2, 1);
    let (mut a, mut batch) = soon(waits).await.unwrap();
    assert_eq!(batch.len(), 1);
    drop(b);
    let mut moved = a.next().await;
    assert_eq!(moved.len(), 1, "what the other had");
    ack(moved.remove(0));
    let waits = tokio::spawn(async move { a.next().await });
    tokio::task::yield_now().await;
    settle(batch.remove(0), Settlement::nack());
    assert_eq!(count(&soon(waits).await.unwrap()[0]), 2);
}

#[tokio::test]
async fn a_dropped_source_leaves_its_group() {
    let broker = broker(1);
    fill(&broker, 1, 3);
    let subscription = broker.subscribe("t").group("g");
    let (mut a, mut b) = (Member::join(&subscription), Member::join(&subscription));
    let held = a.now();
    assert!(b.now().is_empty());
    drop(a);
    assert!(held[0].lease.is_lost());
    assert_eq!(offsets(&b.now()), [0, 1, 2]);
}

#[tokio::test]
async fn no_more_is_handed_over_than_there_is_room_for_and_never_of_a_blocked_partition() {
    let broker = broker(2);
    for _ in 0..100 {
        send(&broker, Message::new("x").with_partition(0));
    }
    let mut member = Member::with_room(&broker.subscribe("t").group("g"), 4);
    let mut held = member.now();
    assert_eq!(held.len(), 2, "one place is kept for each idle partition");
    let (full, control) = (held[0].partition, member.control.clone());
    control.take(full, 3, 3);
    assert!(member.now().is_empty(), "it holds its share, and the place left is the other's");
    send(&broker, Message::new("x").with_partition(1));
    let other = member.now();
    assert_eq!((other.len(), partition(&other[0])), (1, 1));
    control.take(other[0].partition, 1, 1);
    let waits = tokio::spawn(async move { member.next().await });
    tokio::task::yield_now().await;
    // Given back, but the worker still counts it: there is no room.
    drop(held.pop());
    tokio::task::yield_now().await;
    assert!(!waits.is_finished());
    control.release([(full, 2, 2)]);
    assert_eq!(offset(&soon(waits).await.unwrap()[0]), 1, "what was given back comes first");
}

#[tokio::test]
async fn a_batch_ends_at_64_and_stopping_answers_with_nothing() {
    let broker = broker(1);
    fill(&broker, 1, 200);
    let mut member = Member::join(&broker.subscribe("t").group("g"));
    let held = member.now();
    assert_eq!(held.len(), 64);
    member.control.pause();
    assert!(member.source.receive().now_or_never().is_none(), "paused: nothing, but it goes on");
    member.control.resume();
    let more = member.now();
    assert_eq!(offset(&more[0]), 64);
    let control = member.control.clone();
    let waits = tokio::spawn(async move {
        let held = (member.now(), member.now(), member.next().await);
        held.2
    });
    tokio::task::yield_now().await;
    control.stop();
    assert!(soon(waits).await.unwrap().is_empty());
    drop((held, more));
}

#[tokio::test]
async fn several_topics_are_shared_out_evenly() {
    let broker = broker(1);
    broker.create_topic("u", 1).unwrap();
    let subscription = broker.subscribe(["t", "u"]).group("g");
    let (mut a, mut b) = (Member::join(&subscription), Member::join(&subscription));
    for topic in ["t", "u"] {
        tower_service::Service::call(&mut broker.topic(topic), Message::new("x")).await.unwrap();
    }
    assert_eq!((a.now().len(), b.now().len()), (1, 1));
}
