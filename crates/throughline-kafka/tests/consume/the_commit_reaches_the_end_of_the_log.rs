//! What a log leaves out (transaction markers, aborted transactions, what was compacted away) holds no commit up, and
//! what is open does, also at the end.

use crate::common::{LONG, Member, fill, kafka, offset, send, servers, topic, until};
use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    producer::{BaseProducer, BaseRecord, Producer},
};
use std::time::{Duration, Instant};
use throughline_core::{Message, Settlement, Settler};
use throughline_kafka::{Kafka, KafkaSubscription};

/// Transactions of two records, the last of them aborted; gives the end of the log.
fn transactions(topic: &str, committed: usize) -> i64 {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", servers())
        .set("transactional.id", topic)
        .create()
        .unwrap();
    producer.init_transactions(LONG).unwrap();
    for n in 0..=committed {
        producer.begin_transaction().unwrap();
        for _ in 0..2 {
            producer
                .send(BaseRecord::<(), _>::to(topic).payload("x").partition(0))
                .map_err(|(e, _)| e)
                .unwrap();
        }
        producer.flush(LONG).unwrap();
        if n < committed {
            producer.commit_transaction(LONG).unwrap();
        } else {
            producer.abort_transaction(LONG).unwrap();
        }
    }
    // Two records and a marker each. The last marker is written a moment after the client was answered.
    let end = 3 * (i64::try_from(committed).unwrap() + 1);
    let began = Instant::now();
    while producer.client().fetch_watermarks(topic, 0, LONG).unwrap().1 < end {
        assert!(began.elapsed() < LONG, "the last marker was not written");
        std::thread::sleep(Duration::from_millis(5));
    }
    end
}

fn subscription(kafka: &Kafka, name: &str) -> KafkaSubscription {
    kafka.group(name).topic(name).commit_interval(Duration::from_millis(50))
}

#[tokio::test]
async fn behind_markers_and_aborted_transactions() {
    let kafka = kafka();
    let name = topic(&kafka, "markers", 1).await;
    let end = transactions(&name, 3);
    let mut member = Member::join(&subscription(&kafka, &name), 100).await;
    for delivery in member.take(6).await {
        member.settle(delivery, Settlement::Ack).await.unwrap();
    }
    let receiving = member.receiving();
    until(|| receiving.seen.last_commit() == Some((0, end))).await;
    receiving.stop().await.close().await.unwrap();
    // What comes then is not taken for read.
    fill(&kafka, &name, 1, 1).await;
    let mut member = Member::join(&subscription(&kafka, &name), 100).await;
    let next = member.take(1).await.remove(0);
    assert_eq!(offset(&next), end);
    drop(next);
    member.close().await.unwrap();
    assert_eq!(kafka.admin().committed(&name, &name).await.unwrap(), [(0, Some(end))]);
}

#[tokio::test]
async fn of_a_log_with_nothing_but_markers() {
    let kafka = kafka();
    let name = topic(&kafka, "aborted", 1).await;
    let end = transactions(&name, 0);
    let receiving = Member::join(&subscription(&kafka, &name), 100).await.receiving();
    until(|| receiving.seen.last_commit() == Some((0, end))).await;
    receiving.stop().await.close().await.unwrap();
}

#[tokio::test]
async fn but_never_past_what_is_open() {
    let kafka = kafka();
    let name = topic(&kafka, "open", 1).await;
    let end = transactions(&name, 2);
    let mut member = Member::join(&subscription(&kafka, &name), 100).await;
    let mut held = None;
    for delivery in member.take(4).await {
        // The very last record, with markers and an aborted transaction behind it.
        match offset(&delivery) {
            4 => held = Some(delivery),
            _ => member.settle(delivery, Settlement::Ack).await.unwrap(),
        }
    }
    // So many statistics that the end is known beyond doubt.
    let receiving = member.receiving();
    let lags = || receiving.seen.lags.lock().unwrap().len();
    let since = lags();
    until(|| lags() >= since + 4).await;
    assert_eq!(receiving.seen.last_commit(), Some((0, 4)));
    held.unwrap().settler.settle(Settlement::Ack).await.unwrap();
    until(|| receiving.seen.last_commit() == Some((0, end))).await;
    receiving.stop().await.close().await.unwrap();
}

#[tokio::test]
async fn across_what_was_compacted_away() {
    let kafka = kafka();
    let name = crate::common::unique("compacted");
    let settings = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "50"),
        ("min.cleanable.dirty.ratio", "0.001"),
        ("delete.retention.ms", "0"),
    ];
    kafka.admin().create_topic_with(&name, 1, &settings).await.unwrap();
    let mut sink = kafka.topic(&name);
    for n in 0..12_u32 {
        let message = if n % 2 == 0 { Message::new(n.to_string()) } else { Message::tombstone() };
        send(&mut sink, message.with_key("k")).await.unwrap();
        // A segment each: only those that are closed are cleaned.
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    let raw = name.clone();
    let first = tokio::task::spawn_blocking(move || first_after_cleaning(&raw)).await.unwrap();
    assert!(first > 0);
    let mut member = Member::join(&subscription(&kafka, &name), 100).await;
    let mut at = 0;
    while at < 11 {
        for delivery in member.receive().await {
            at = offset(&delivery);
            member.settle(delivery, Settlement::Ack).await.unwrap();
        }
    }
    let receiving = member.receiving();
    until(|| receiving.seen.last_commit() == Some((0, 12))).await;
    receiving.stop().await.close().await.unwrap();
}

/// Waits until the cleaner went over the log; gives the first offset that is left.
fn first_after_cleaning(topic: &str) -> i64 {
    // It commits nothing, and in no group of ours: where it looked is not where the member begins.
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers()).set("group.id", "looks").set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create().unwrap();
    let began = Instant::now();
    loop {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
        consumer.assign(&list).unwrap();
        if let Some(Ok(record)) = consumer.poll(Duration::from_secs(1))
            && record.offset() > 0
        {
            return record.offset();
        }
        assert!(began.elapsed() < LONG * 2, "the broker did not compact");
    }
}
