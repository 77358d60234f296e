//! The start of a group that has committed nothing (FC-16): where it was told to, and that is its position from then on.

use crate::common::{Member, fill, kafka, offset, quick, send, servers, topic, unique, until, within};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewPartitions},
    client::DefaultClientContext,
};
use std::{sync::Arc, time::Duration};
use throughline_core::{Capacity, Demand, ErrorKind, Message, Source, Subscription};
use throughline_kafka::{Kafka, Start};

#[tokio::test]
async fn at_a_time_an_offset_or_an_end() {
    let kafka = kafka();
    let name = topic(&kafka, "start", 1).await;
    fill(&kafka, &name, 1, 3).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let between = std::time::SystemTime::now();
    fill(&kafka, &name, 1, 4).await;
    for (start, first) in [
        (Start::Earliest, 0),
        (Start::At(between), 3),
        (Start::At(std::time::SystemTime::UNIX_EPOCH), 0),
        (Start::Offset(5), 5),
        (Start::Offset(-3), 0),
    ] {
        let group = unique("group");
        let mut member = Member::join(&kafka.group(&group).topic(&name).start(start), 100).await;
        assert_eq!(offset(&member.take(1).await[0]), first, "{start:?}");
        member.close().await.unwrap();
    }
}

#[tokio::test]
async fn an_end_that_was_begun_at_is_kept_when_nothing_came() {
    let kafka = kafka();
    let name = topic(&kafka, "latest", 1).await;
    fill(&kafka, &name, 1, 3).await;
    let far = std::time::SystemTime::now() + Duration::from_secs(3600);
    for start in [Start::Latest, Start::At(far), Start::Offset(99)] {
        let group = unique("group");
        let subscription =
            kafka.group(&group).topic(&name).start(start).commit_interval(Duration::from_millis(50));
        let receiving = Member::join(&subscription, 100).await.receiving();
        until(|| receiving.seen.last_commit().is_some()).await;
        let end = receiving.seen.last_commit().unwrap().1;
        receiving.stop().await.close().await.unwrap();
        // What was sent while nobody was there is not passed over.
        send(&mut kafka.topic(&name), Message::new("0")).await.unwrap();
        let mut member = Member::join(&subscription, 100).await;
        assert_eq!(offset(&member.take(1).await[0]), end, "{start:?}");
        member.close().await.unwrap();
    }
}

/// The records that come before anybody has found a new partition are not from before the group: they are read, by one that
/// runs and by one that was away.
#[tokio::test]
async fn what_is_added_to_a_topic_is_read_from_its_start() {
    let kafka = quick(kafka()).set("topic.metadata.refresh.interval.ms", "1000");
    for away in [false, true] {
        let name = topic(&kafka, "grows", 1).await;
        fill(&kafka, &name, 1, 3).await;
        let subscription = kafka.group(&name).topic(&name).start(Start::Latest);
        let subscription = subscription.commit_interval(Duration::from_millis(50));
        let receiving = Member::join(&subscription, 100).await.receiving();
        until(|| receiving.seen.last_commit() == Some((0, 3))).await;
        let mut member = receiving.stop().await;
        if away {
            member.close().await.unwrap();
            grow(&name, 3).await;
            member = Member::join(&subscription, 100).await;
        } else {
            member.close().await.unwrap();
            member = Member::join(&subscription, 100).await;
            until(|| *member.seen.assigned.lock().unwrap() == [0]).await;
            grow(&name, 3).await;
        }
        let mut got: Vec<_> = member.take(6).await.iter().map(offset).collect();
        got.sort_unstable();
        assert_eq!(got, [0, 0, 1, 1, 2, 2], "{away}");
        member.close().await.unwrap();
    }
}

/// Gives the topic so many partitions, and each new one three records.
async fn grow(topic: &str, partitions: usize) {
    let client: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", servers()).create().unwrap();
    let more = NewPartitions::new(topic, partitions);
    within(client.create_partitions([&more], &AdminOptions::new())).await.unwrap().remove(0).unwrap();
    let mut sink = Kafka::new(servers()).topic(topic);
    for id in 0..3 * (partitions - 1) {
        let partition = i32::try_from(1 + id % (partitions - 1)).unwrap();
        send(&mut sink, Message::new(id.to_string()).with_partition(partition)).await.unwrap();
    }
}

#[tokio::test]
async fn or_nowhere_with_a_word_on_group_and_partitions() {
    let kafka = kafka();
    let name = topic(&kafka, "strict", 2).await;
    fill(&kafka, &name, 2, 4).await;
    let subscription = kafka.group(&name).topic(&name).start(Start::Committed);
    let (_control, demand) = Demand::new(Capacity { messages: 10, bytes: 1 << 20 });
    let mut source = within(subscription.subscribe(demand, Arc::new(()))).await.unwrap();
    let error = within(source.receive()).await.unwrap_err();
    assert_eq!((error.kind(), error.resource()), (ErrorKind::NotFound, &*name));
    for part in [format!("{name}/0"), format!("{name}/1"), "Committed".into()] {
        assert!(error.to_string().contains(&part), "{error}");
    }
    within(source.close(std::time::Instant::now() + crate::common::LONG)).await.unwrap();
    assert_eq!(kafka.admin().committed(&name, &name).await.unwrap(), [(0, None), (1, None)]);
}
