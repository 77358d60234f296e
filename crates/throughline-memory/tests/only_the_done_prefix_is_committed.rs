//! What a group commits, and where it and others begin.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test may panic and has tasks of its own"
)]

mod common;

use common::*;
use std::time::{Duration, UNIX_EPOCH};
use throughline_core::{ErrorKind, Message, Settlement, Source};
use throughline_memory::Start;

#[tokio::test]
async fn what_failed_and_all_behind_it_comes_again_after_a_restart() {
    let broker = broker(1);
    send_keyed(&broker, ["a", "b", "c", "d", "e"]);
    let subscription = broker.subscribe("t").group("g");
    let mut member = Member::join(&subscription);
    let mut failed = Vec::new();
    for delivery in member.now() {
        match offset(&delivery) {
            0 | 1 | 3 => ack(delivery),
            _ => failed.push(delivery),
        }
    }
    failed.into_iter().for_each(|delivery| settle(delivery, Settlement::nack()));
    assert_eq!(broker.committed("t", "g", 0), 2);
    member.source.close(std::time::Instant::now()).await.unwrap();
    assert_eq!(
        offsets(&Member::join(&subscription).now()),
        [2, 3, 4],
        "C, D and E, as from a committed offset"
    );
}

#[tokio::test]
async fn one_failure_of_ten_holds_the_commit_at_exactly_its_offset() {
    let broker = broker(1);
    send_keyed(&broker, [""; 10]);
    let mut member = Member::join(&broker.subscribe("t").group("g"));
    let mut held = None;
    for delivery in member.now().into_iter().rev() {
        if offset(&delivery) == 2 { held = Some(delivery) } else { ack(delivery) }
    }
    assert_eq!(broker.committed("t", "g", 0), 2);
    settle(held.unwrap(), Settlement::nack());
    assert_eq!(broker.committed("t", "g", 0), 2);
    let mut again = member.now();
    assert_eq!((offsets(&again), count(&again[0])), (vec![2], 2));
    let waits = tokio::spawn({
        let broker = broker.clone();
        async move { broker.caught_up("t", "g").await }
    });
    tokio::task::yield_now().await;
    assert!(!waits.is_finished());
    ack(again.remove(0));
    soon(waits).await.unwrap();
    assert_eq!((broker.committed("t", "g", 0), broker.lag("t", "g")), (10, 0));
}

#[tokio::test]
async fn a_rejected_message_counts_as_done() {
    let broker = broker(1);
    send(&broker, keyed("a"));
    let mut member = Member::join(&broker.subscribe("t").group("g"));
    settle(member.now().remove(0), Settlement::Reject);
    assert_eq!((broker.committed("t", "g", 0), broker.counters().rejected), (1, 1));
}

#[tokio::test]
async fn two_groups_know_nothing_of_each_other() {
    let broker = broker(1);
    send_keyed(&broker, ["k"; 3]);
    let (mut a, mut b) =
        (Member::join(&broker.subscribe("t").group("a")), Member::join(&broker.subscribe("t").group("b")));
    a.now().into_iter().for_each(ack);
    assert_eq!((broker.committed("t", "a", 0), broker.committed("t", "b", 0)), (3, 0));
    assert_eq!((broker.lag("t", "a"), broker.lag("t", "b")), (0, 3));
    let of_b = b.now();
    assert_eq!(offsets(&of_b), [0, 1, 2]);
    assert_eq!(of_b[0].message.origin().unwrap().destination.group.as_deref(), Some("b"));
}

#[tokio::test]
async fn a_new_group_begins_where_it_says_and_an_old_one_where_it_was() {
    let broker = broker(1).retain(true);
    for second in 0..5 {
        send(&broker, keyed("").with_time(UNIX_EPOCH + Duration::from_secs(second)));
    }
    let begin = |group: &str, start| {
        let mut member = Member::join(&broker.subscribe("t").group(group).start(start));
        let batch = member.now();
        let found = offsets(&batch);
        batch.into_iter().for_each(ack);
        found
    };
    assert_eq!(begin("earliest", Start::Earliest), [0, 1, 2, 3, 4]);
    assert_eq!(begin("offset", Start::Offset(3)), [3, 4]);
    assert_eq!(begin("beyond", Start::Offset(99)), [0; 0]);
    assert_eq!(begin("time", Start::Time(UNIX_EPOCH + Duration::from_secs(2))), [2, 3, 4]);
    assert_eq!(begin("latest", Start::Latest), [0; 0]);
    send(&broker, keyed(""));
    assert_eq!(begin("latest", Start::Latest), [5], "it was there before the message");
    assert_eq!(begin("earliest", Start::Latest), [5], "what is committed goes before the start");
}

#[tokio::test]
async fn what_every_group_has_done_is_dropped_unless_retained() {
    for retain in [false, true] {
        let broker = broker(1).retain(retain);
        send_keyed(&broker, [""; 200]);
        let (mut a, mut b) = (
            Member::join(&broker.subscribe("t").group("a")),
            Member::join(&broker.subscribe("t").group("b")),
        );
        for _ in 0..4 {
            a.now().into_iter().for_each(ack);
        }
        assert_eq!(broker.records("t").len(), 200, "the other group needs them");
        b.now().into_iter().for_each(ack);
        assert_eq!(broker.records("t").len(), if retain { 200 } else { 136 });
        let late = Member::join(&broker.subscribe("t").group("late")).now();
        assert_eq!(offset(&late[0]), if retain { 0 } else { 64 });
    }
}

#[tokio::test]
async fn a_topic_is_made_once_and_named_before_it_is_used() {
    let broker = broker(2);
    broker.create_topic("t", 2).unwrap();
    assert_eq!(broker.create_topic("t", 3).unwrap_err().kind(), ErrorKind::Config);
    assert_eq!(broker.create_topic("u", 0).unwrap_err().kind(), ErrorKind::Config);
    let unknown =
        tower_service::Service::call(&mut broker.topic("nowhere"), Message::new("x")).await.unwrap_err();
    assert_eq!((unknown.kind(), unknown.resource()), (ErrorKind::NotFound, "nowhere"));
    assert!(unknown.to_string().contains("create_topic("), "{unknown}");
    let (_, demand) = throughline_core::Demand::new(throughline_core::Capacity { messages: 1, bytes: 1 });
    let subscribe = |topic: &str| {
        let subscription = broker.subscribe(topic);
        let demand = demand.clone();
        async move {
            throughline_core::Subscription::subscribe(&subscription, demand, std::sync::Arc::new(())).await
        }
    };
    assert_eq!(subscribe("nowhere").await.unwrap_err().kind(), ErrorKind::NotFound);
    let broker = broker.clone().auto_create(3);
    tower_service::Service::call(&mut broker.topic("nowhere"), Message::new("x")).await.unwrap();
    broker.create_topic("nowhere", 3).unwrap();
}
