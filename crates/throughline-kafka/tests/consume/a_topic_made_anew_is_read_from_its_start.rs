//! FC-02: a topic is deleted and made again under its name.

use crate::common::{LONG, Member, fill, kafka, offset, quick, servers, topic, unique, until, within};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer},
};
use std::{collections::BTreeSet, time::Duration};
use throughline_core::{Settlement, Source};
use throughline_kafka::{Assignment, Start};

#[tokio::test]
async fn while_a_member_runs() {
    let kafka = quick(kafka());
    for assignment in [Assignment::Cooperative, Assignment::Eager] {
        let name = topic(&kafka, "anew", 1).await;
        fill(&kafka, &name, 1, 100).await;
        let subscription = kafka.group(&name).topic(&name).assignment(assignment);
        let mut member = Member::join(&subscription.commit_interval(Duration::from_millis(50)), 1000).await;
        assert_eq!(member.handle(100).await.len(), 100);
        until(|| member.seen.last_commit() == Some((0, 100))).await;
        kafka.admin().delete_topic(&name).await.unwrap();
        kafka.admin().create_topic(&name, 1).await.unwrap();
        fill(&kafka, &name, 1, 10).await;
        assert_eq!(member.handle(10).await, (0..10).collect::<Vec<_>>(), "{assignment:?}");
        until(|| member.seen.last_commit() == Some((0, 10))).await;
        member.close().await.unwrap();
    }
}

/// The new one soon has more than was done of the old one, so that nothing refuses to read on in its middle.
#[tokio::test]
async fn while_a_member_runs_and_the_new_one_fills_fast() {
    let kafka = quick(kafka());
    for assignment in [Assignment::Cooperative, Assignment::Eager] {
        let name = topic(&kafka, "anew", 1).await;
        fill(&kafka, &name, 1, 10).await;
        let subscription = kafka.group(&name).topic(&name).assignment(assignment);
        let mut member = Member::join(&subscription.commit_interval(Duration::from_millis(50)), 1000).await;
        assert_eq!(member.handle(10).await.len(), 10);
        until(|| member.seen.last_commit() == Some((0, 10))).await;
        kafka.admin().delete_topic(&name).await.unwrap();
        kafka.admin().create_topic(&name, 1).await.unwrap();
        fill(&kafka, &name, 1, 50).await;
        let mut seen = BTreeSet::new();
        while seen.len() < 50 {
            for delivery in member.receive().await {
                seen.insert(offset(&delivery));
                // Of some that came from its middle before, the answer is too late.
                let _ = member.settle(delivery, Settlement::Ack).await;
            }
        }
        until(|| member.seen.last_commit() == Some((0, 50))).await;
        member.close().await.unwrap();
        assert_eq!(kafka.admin().committed(&name, &name).await.unwrap(), [(0, Some(50))]);
    }
}

/// An offset that the group committed is one of the topic that it was committed for. What some other client wrote beside
/// its offset proves nothing, and neither does what was copied from another cluster.
#[tokio::test]
async fn while_nobody_ran() {
    let kafka = quick(kafka());
    let [old, new] = [topic(&kafka, "anew", 1).await, topic(&kafka, "anew", 1).await];
    for name in [&old, &new] {
        fill(&kafka, name, 1, 50).await;
        let mut member = Member::join(&kafka.group(name).topic(name), 100).await;
        assert_eq!(member.handle(50).await.len(), 50);
        member.close().await.unwrap();
    }
    let (of_old, of_new) = (said(&old, &old).await, said(&new, &new).await);
    assert!(of_old.contains("topic-id=") && of_old != of_new, "{of_old}, {of_new}");
    let elsewhere = of_old.replace("cluster=", "cluster=other-");
    for (metadata, first) in [(&*of_old, 0), (&*of_new, 10), (&*elsewhere, 10), ("by hand", 10), ("", 10)] {
        let group = unique("anew");
        commit(&group, &new, 10, metadata).await;
        let mut member = Member::join(&kafka.group(&group).topic(&new), 100).await;
        assert_eq!(member.handle(1).await[0], first, "{metadata}");
        assert_eq!(*member.seen.skipped.lock().unwrap(), if first == 0 { vec![(0, 10, 0)] } else { vec![] });
        member.close().await.unwrap();
    }
    // Who wants no choice made is told.
    let group = unique("anew");
    commit(&group, &new, 10, &of_old).await;
    let mut strict = Member::join(&kafka.group(&group).topic(&new).start(Start::Committed), 100).await;
    let error = within(strict.source.receive()).await.unwrap_err().to_string();
    assert!(error.contains("made anew since 10 was committed"), "{error}");
    let _ = strict.close().await;
}

/// What stands beside the group's offset of partition 0.
async fn said(group: &str, topic: &str) -> String {
    let list =
        on_thread(group, topic, |consumer, list| consumer.committed_offsets(list, LONG).unwrap()).await;
    list.elements()[0].metadata().to_owned()
}

async fn commit(group: &str, topic: &str, offset: i64, metadata: &str) {
    let metadata = metadata.to_owned();
    on_thread(group, topic, move |consumer, mut list| {
        list.set_all_offsets(Offset::Offset(offset)).unwrap();
        list.elements()[0].set_metadata(metadata);
        consumer.commit(&list, CommitMode::Sync).unwrap();
        list
    })
    .await;
}

/// The client's calls block.
async fn on_thread(
    group: &str,
    topic: &str,
    work: impl FnOnce(BaseConsumer, TopicPartitionList) -> TopicPartitionList + Send + 'static,
) -> TopicPartitionList {
    let consumer = ClientConfig::new().set("bootstrap.servers", servers()).set("group.id", group).create();
    let mut list = TopicPartitionList::new();
    list.add_partition(topic, 0);
    let done = tokio::task::spawn_blocking(move || work(consumer.unwrap(), list));
    within(done).await.unwrap()
}
