//! FC-55: a batch with a codec that the client was built without. On librdkafka's own cluster of fakes, which takes any
//! batch; where this build has all codecs, one that nobody has stands for one that is lacking, since the client does the
//! same with both: `cargo test -p throughline-kafka --no-default-features` shows the other.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests count as no test for clippy")]

mod common;

use common::{Member, id, raw, send, until};
use rdkafka::mocking::MockCluster;
use std::time::Duration;
use throughline_core::{ErrorKind, Message, Settlement};
use throughline_kafka::Kafka;

#[tokio::test]
async fn an_unreadable_batch_holds_its_partition_and_no_other() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 2, 1).unwrap();
    let servers = cluster.bootstrap_servers();
    let kafka = Kafka::new(&*servers);
    let mut sink = kafka.topic("t");
    let to = |partition, id: u32| Message::new(id.to_string()).with_partition(partition);
    send(&mut sink, to(0, 0)).await.unwrap();
    let words = if cfg!(feature = "gzip") {
        raw::produce_coded(&servers, "t", 5);
        ["(5)", "use a client that knows it"]
    } else {
        raw::produce_batch(&servers, "t", include_bytes!("batches/java-gzip.bin"));
        ["codec gzip (1)", "cargo feature `gzip` of throughline-kafka"]
    };
    send(&mut sink, to(0, 1)).await.unwrap();

    let subscription = kafka.group("g").topic("t").commit_interval(Duration::from_millis(50));
    let mut member = Member::join(&subscription, 100).await;
    let mut got = Vec::new();
    for n in 100..120 {
        send(&mut sink, to(1, n)).await.unwrap();
        while !(got.contains(&0) && got.contains(&n)) {
            for delivery in member.receive().await {
                got.push(id(&delivery.message));
                member.settle(delivery, Settlement::Ack).await.unwrap();
            }
        }
    }
    // All of the other partition, and of this one what is before the batch.
    got.sort_unstable();
    assert_eq!(got, [0].into_iter().chain(100..120).collect::<Vec<_>>());
    let told = &member.seen.unreadable_batches;
    // At first the other partition may wait at the same offset: then the group is named.
    until(|| told.lock().unwrap().iter().any(|(_, text)| text.contains("`t/0`"))).await;
    for (kind, text) in told.lock().unwrap().iter() {
        assert_eq!(*kind, ErrorKind::Unsupported);
        assert!(text.contains("offset 1 ") && words.iter().all(|word| text.contains(word)), "{text}");
    }
    until(|| member.seen.committed.lock().unwrap().contains(&(1, 20))).await;
    let committed = member.seen.committed.lock().unwrap().clone();
    let passed = committed.iter().filter(|(partition, _)| *partition == 0).map(|(_, offset)| *offset).max();
    assert_eq!(passed, Some(1), "the batch was passed");
    member.close().await.unwrap();
}
