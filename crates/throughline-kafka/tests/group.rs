//! Members of a group on a real broker: what is committed, what moves, and that nothing is lost on the way.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests count as no test for clippy")]

mod common;

use common::{LONG, Member, fill, id, kafka, offset, quick, topic, until, within};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};
use throughline_core::{Capacity, Demand, ErrorKind, Settlement, Settler, Source, Subscription};
use throughline_kafka::{Assignment, KafkaSubscription, Start};

#[tokio::test]
async fn failed_messages_come_again_and_are_not_overtaken() {
    let kafka = kafka();
    let name = topic(&kafka, "prefix", 1).await;
    fill(&kafka, &name, 1, 5).await;
    let subscription = kafka.group(&name).topic(&name).start(Start::Earliest);
    let mut member = Member::join(&subscription, 100).await;
    // A, B and D are acknowledged; C is nacked, E dropped.
    for delivery in member.take(5).await {
        match offset(&delivery) {
            2 => member.settle(delivery, Settlement::nack()).await.unwrap(),
            4 => drop(delivery),
            _ => member.settle(delivery, Settlement::Ack).await.unwrap(),
        }
    }
    member.close().await.unwrap();
    assert_eq!(kafka.admin().committed(&name, &name).await.unwrap(), [(0, Some(2))]);
    let mut member = Member::join(&subscription, 100).await;
    let again = member.take(3).await;
    assert_eq!(again.iter().map(offset).collect::<Vec<_>>(), [2, 3, 4]);
    for delivery in again {
        member.settle(delivery, Settlement::Ack).await.unwrap();
    }
    member.close().await.unwrap();
    assert_eq!(kafka.admin().committed(&name, &name).await.unwrap(), [(0, Some(5))]);
}

#[tokio::test]
async fn one_failure_among_ten_is_committed_at_exactly_its_offset() {
    let kafka = kafka();
    let name = topic(&kafka, "ten", 1).await;
    fill(&kafka, &name, 1, 10).await;
    let subscription = kafka.group(&name).topic(&name).commit_interval(Duration::from_millis(20));
    let mut member = Member::join(&subscription, 100).await;
    for delivery in member.take(10).await.into_iter().rev() {
        if offset(&delivery) != 2 {
            member.settle(delivery, Settlement::Ack).await.unwrap();
        }
    }
    until(|| member.seen.committed.lock().unwrap().last() == Some(&(0, 2))).await;
    // Dropped without being closed: what is done stays done, and nothing more.
    drop(member);
    assert_eq!(kafka.admin().committed(&name, &name).await.unwrap(), [(0, Some(2))]);
    let mut member = Member::join(&subscription, 1).await;
    assert_eq!(offset(&member.take(1).await[0]), 2);
}

/// Handles whatever comes, with some in flight at once, until it is told to stop; then leaves the group.
async fn work(mut member: Member, done: Arc<Mutex<Vec<(i32, i64, u32)>>>, total: usize) -> Member {
    let mut held = Vec::new();
    while done.lock().unwrap().len() < total {
        let Ok(batch) = tokio::time::timeout(Duration::from_millis(50), member.source.receive()).await else {
            continue;
        };
        held.extend(batch.unwrap());
        // The newest first, so that prefixes are really broken meanwhile.
        while let Some(delivery) = held.pop() {
            let delivery: throughline_core::Delivery<throughline_kafka::KafkaSettler> = delivery;
            let origin = delivery.message.origin().unwrap();
            let entry = (origin.partition.unwrap(), origin.offset.unwrap(), id(&delivery.message));
            if delivery.settler.settle(Settlement::Ack).await.is_ok() {
                done.lock().unwrap().push(entry);
            }
        }
    }
    member
}

async fn members_come_and_go(subscription: KafkaSubscription, name: &str) {
    const TOTAL: u32 = 6_000;
    let kafka = kafka();
    let done = Arc::<Mutex<Vec<(i32, i64, u32)>>>::default();
    let producing = tokio::runtime::Handle::current().spawn({
        let (kafka, name) = (kafka.clone(), name.to_owned());
        async move {
            for part in 0..TOTAL / 500 {
                fill_from(&kafka, &name, 6, part * 500, 500).await;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    });
    let mut tasks = tokio::task::JoinSet::new();
    for wait in [0, 600, 1200] {
        let (subscription, done) = (subscription.clone(), done.clone());
        tasks.spawn(async move {
            tokio::time::sleep(Duration::from_millis(wait)).await;
            let member = Member::join(&subscription, 256).await;
            work(member, done, TOTAL as usize).await
        });
    }
    within(producing).await.unwrap();
    while let Some(member) = within(tasks.join_next()).await {
        member.unwrap().close().await.unwrap();
    }
    let done = done.lock().unwrap().clone();
    let ids: BTreeSet<u32> = done.iter().map(|(_, _, id)| *id).collect();
    assert_eq!(ids, (0..TOTAL).collect(), "lost");
    assert_eq!(done.len(), TOTAL as usize, "members that leave in order make no duplicates");
    let committed = kafka.admin().committed(name, name).await.unwrap();
    assert_eq!(committed, (0..6).map(|p| (p, Some(i64::from(TOTAL) / 6))).collect::<Vec<_>>());
}

async fn fill_from(kafka: &throughline_kafka::Kafka, topic: &str, partitions: i32, from: u32, n: u32) {
    let mut sink = kafka.topic(topic);
    for id in from..from + n {
        let partition = i32::try_from(id).unwrap() % partitions;
        let message = throughline_core::Message::new(id.to_string()).with_partition(partition);
        std::future::poll_fn(|cx| tower_service::Service::poll_ready(&mut sink, cx)).await.unwrap();
        drop(tower_service::Service::call(&mut sink, message));
    }
    throughline_core::Endpoint::flush(&sink).await.unwrap();
}

#[tokio::test]
async fn nothing_is_lost_or_doubled_when_members_join_cooperatively() {
    let kafka = quick(kafka());
    let name = topic(&kafka, "cooperative", 6).await;
    members_come_and_go(kafka.group(&name).topic(&name), &name).await;
}

#[tokio::test]
async fn nothing_is_lost_or_doubled_when_members_join_eagerly() {
    let kafka = quick(kafka());
    let name = topic(&kafka, "eager", 6).await;
    members_come_and_go(kafka.group(&name).topic(&name).assignment(Assignment::Eager), &name).await;
}

#[tokio::test]
async fn nothing_is_lost_or_doubled_under_the_newer_group_protocol() {
    let kafka = kafka().set("group.protocol", "consumer");
    let name = topic(&kafka, "newer", 6).await;
    members_come_and_go(kafka.group(&name).topic(&name), &name).await;
}

#[tokio::test]
async fn what_is_done_is_committed_before_a_partition_moves() {
    for assignment in [Assignment::Cooperative, Assignment::Eager] {
        let kafka = quick(kafka());
        let name = topic(&kafka, "moves", 2).await;
        fill(&kafka, &name, 2, 20).await;
        let subscription = kafka
            .group(&name)
            .topic(&name)
            .assignment(assignment)
            // Nothing is committed in time: only the revoke does it.
            .commit_interval(Duration::from_secs(3600));
        let mut first = Member::join(&subscription, 100).await;
        for delivery in first.take(20).await {
            first.settle(delivery, Settlement::Ack).await.unwrap();
        }
        let second = Member::join(&subscription, 100).await;
        until(|| second.seen.assigned.lock().unwrap().len() == 1).await;
        let moved = second.seen.assigned.lock().unwrap()[0];
        let committed = kafka.admin().committed(&name, &name).await.unwrap();
        assert_eq!(committed[usize::try_from(moved).unwrap()], (moved, Some(10)), "{assignment:?}");
        if assignment == Assignment::Cooperative {
            let kept = committed[usize::try_from(1 - moved).unwrap()];
            assert_eq!(kept.1, None, "what stays is not touched");
        }
        second.close().await.unwrap();
        first.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_partition_that_moves_waits_for_its_messages_and_then_takes_their_lease() {
    let kafka = quick(kafka());
    let name = topic(&kafka, "lease", 2).await;
    fill(&kafka, &name, 2, 2).await;
    let subscription = kafka.group(&name).topic(&name).revoke_timeout(Duration::from_millis(1500));
    let mut first = Member::join(&subscription, 100).await;
    let held = first.take(2).await;
    let mut second = Member::join(&subscription, 100).await;
    until(|| !second.seen.assigned.lock().unwrap().is_empty()).await;
    let moved = second.seen.assigned.lock().unwrap()[0];
    for delivery in held {
        let gone = delivery.message.origin().unwrap().partition == Some(moved);
        assert_eq!(delivery.lease.is_lost(), gone);
        let result = first.settle(delivery, Settlement::Ack).await;
        match result {
            Err(error) => assert!(gone && error.kind() == ErrorKind::LeaseLost, "{error}"),
            Ok(()) => assert!(!gone, "a settlement after the loss must not count"),
        }
    }
    assert_eq!(first.seen.lost.load(Ordering::SeqCst), 1);
    // Its next owner is given it again, and commits it.
    let again = second.take(1).await.remove(0);
    assert_eq!((again.message.origin().unwrap().partition, offset(&again)), (Some(moved), 0));
    second.settle(again, Settlement::Ack).await.unwrap();
    first.close().await.unwrap();
    second.close().await.unwrap();
    let committed = kafka.admin().committed(&name, &name).await.unwrap();
    assert_eq!(committed, [(0, Some(1)), (1, Some(1))]);
}

#[tokio::test]
async fn a_message_that_finishes_while_its_partition_moves_is_not_given_twice() {
    let kafka = quick(kafka());
    let name = topic(&kafka, "finishes", 1).await;
    fill(&kafka, &name, 1, 1).await;
    // Eager, so that the only partition surely moves or is at least given up for a moment.
    let subscription = kafka.group(&name).topic(&name).assignment(Assignment::Eager).revoke_timeout(LONG);
    let mut first = Member::join(&subscription, 100).await;
    let held = first.take(1).await.remove(0);
    let mut second = Member::join(&subscription, 100).await;
    // Far longer than a rebalance takes here: it waits for the message.
    let early = tokio::time::timeout(Duration::from_secs(3), second.source.receive()).await;
    assert!(early.is_err() && second.seen.assigned.lock().unwrap().is_empty());
    assert!(first.seen.assigned.lock().unwrap().len() == 1 && !held.lease.is_lost());
    first.settle(held, Settlement::Ack).await.unwrap();
    until(|| first.seen.assigned.lock().unwrap().len() + second.seen.assigned.lock().unwrap().len() == 1)
        .await;
    assert_eq!(first.seen.lost.load(Ordering::SeqCst), 0);
    assert_eq!(kafka.admin().committed(&name, &name).await.unwrap(), [(0, Some(1))]);
    first.close().await.unwrap();
    second.close().await.unwrap();
}

#[tokio::test]
async fn a_pause_neither_loses_nor_doubles_nor_costs_the_membership() {
    let kafka = kafka().set("max.poll.interval.ms", "6000").set("session.timeout.ms", "6000");
    let name = topic(&kafka, "pause", 2).await;
    fill(&kafka, &name, 2, 2_000).await;
    let mut member = Member::join(&kafka.group(&name).topic(&name), 10_000).await;
    let mut got: Vec<u32> = Vec::new();
    // Passing, longer than it takes to pause everything, and longer than the group would wait for one that is silent.
    for pause in [10, 700, 7_000] {
        for delivery in member.take(100).await {
            got.push(id(&delivery.message));
            member.settle(delivery, Settlement::Ack).await.unwrap();
        }
        member.control.pause();
        let quiet = tokio::time::timeout(Duration::from_millis(pause), async {
            loop {
                // What was on its way when the pause came.
                for delivery in member.source.receive().await.unwrap() {
                    member.control.take(delivery.partition, 1, delivery.message.size());
                    got.push(id(&delivery.message));
                    member.settle(delivery, Settlement::Ack).await.unwrap();
                }
            }
        });
        assert!(quiet.await.is_err());
        member.control.resume();
    }
    while got.len() < 2_000 {
        for delivery in member.receive().await {
            got.push(id(&delivery.message));
            member.settle(delivery, Settlement::Ack).await.unwrap();
        }
    }
    assert_eq!(member.seen.lost.load(Ordering::SeqCst), 0);
    assert_eq!(got.iter().copied().collect::<BTreeSet<_>>(), (0..2_000).collect());
    assert_eq!(got.len(), 2_000, "doubled");
    member.close().await.unwrap();
}

#[tokio::test]
async fn a_blocked_partition_stops_alone_and_goes_on() {
    let kafka = kafka();
    let name = topic(&kafka, "blocked", 2).await;
    fill(&kafka, &name, 2, 400).await;
    let mut member = Member::join(&kafka.group(&name).topic(&name), 20).await;
    let mut stuck = Vec::new();
    let mut flowed = 0;
    while flowed < 200 || stuck.len() < 19 {
        for delivery in member.receive().await {
            if delivery.message.origin().unwrap().partition == Some(0) {
                stuck.push(delivery);
            } else {
                flowed += 1;
                member.settle(delivery, Settlement::Ack).await.unwrap();
            }
        }
    }
    assert_eq!(stuck.len(), 19, "of 20 places, one is kept for the other partition");
    // There is room, but not for what is left: it is read, held, and not lost.
    let more = tokio::time::timeout(Duration::from_millis(500), member.source.receive()).await;
    assert!(more.is_err(), "a blocked partition was handed out");
    let mut expected = 0;
    while expected < 200 {
        for delivery in std::mem::take(&mut stuck) {
            assert_eq!(offset(&delivery), expected);
            expected += 1;
            member.settle(delivery, Settlement::Ack).await.unwrap();
        }
        if expected < 200 {
            stuck = member.receive().await;
        }
    }
    member.close().await.unwrap();
}

#[tokio::test]
async fn an_open_message_stops_its_partition_a_window_later_and_no_sooner() {
    let kafka = kafka();
    let name = topic(&kafka, "window", 1).await;
    fill_from(&kafka, &name, 1, 0, 66_000).await;
    let mut member = Member::join(&kafka.group(&name).topic(&name), 1_000).await;
    let mut first = None;
    let mut count = 0;
    while count < 65_536 {
        for delivery in member.receive().await {
            count += 1;
            if offset(&delivery) == 0 {
                first = Some(delivery);
            } else {
                member.settle(delivery, Settlement::Ack).await.unwrap();
            }
        }
    }
    assert_eq!(count, 65_536);
    let more = tokio::time::timeout(Duration::from_secs(1), member.source.receive()).await;
    assert!(more.is_err(), "beyond the window");
    member.settle(first.unwrap(), Settlement::Ack).await.unwrap();
    while count < 66_000 {
        for delivery in member.receive().await {
            assert_eq!(offset(&delivery), count);
            count += 1;
            member.settle(delivery, Settlement::Ack).await.unwrap();
        }
    }
    member.close().await.unwrap();
    assert_eq!(kafka.admin().committed(&name, &name).await.unwrap(), [(0, Some(66_000))]);
}

#[tokio::test]
async fn a_worker_that_ends_gets_an_empty_answer_at_once() {
    let kafka = kafka();
    let name = topic(&kafka, "ends", 1).await;
    let mut member = Member::join(&kafka.group(&name).topic(&name), 10).await;
    let control = member.control.clone();
    let stopped = tokio::runtime::Handle::current().spawn(async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        control.stop();
    });
    assert!(within(member.source.receive()).await.unwrap().is_empty());
    stopped.await.unwrap();
    member.close().await.unwrap();
}

/// The client alone would join for ever.
#[tokio::test]
async fn a_session_that_the_broker_refuses_ends_with_the_setting() {
    let kafka = kafka().set("session.timeout.ms", "3600000").set("max.poll.interval.ms", "3600000");
    let name = topic(&kafka, "session", 1).await;
    let mut member = Member::join(&kafka.group(&name).topic(&name), 10).await;
    let error = within(member.source.receive()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(error.to_string().contains("`session.timeout.ms`"), "{error}");
    let _ = member.close().await;
}

#[tokio::test]
async fn a_topic_that_does_not_exist_is_named_at_the_start() {
    let (_control, demand) = Demand::new(Capacity { messages: 1, bytes: 1 });
    let subscription = kafka().group("g").topic("no-such-topic");
    let error = within(subscription.subscribe(demand, Arc::new(()))).await.unwrap_err();
    assert_eq!((error.kind(), error.resource()), (ErrorKind::NotFound, "no-such-topic"));
    assert!(error.to_string().contains("auto.create.topics.enable"), "{error}");
}
