//! FC-10: the broker does not answer where the group is, for a while. Nothing follows from that: the group begins
//! neither at the start nor at the end. librdkafka's own cluster of fakes answers as it is told to.

use crate::common::{Member, fill, offset, quick, until};
use rdkafka::{
    mocking::MockCluster,
    types::{RDKafkaApiKey, RDKafkaRespErr as Code},
};
use std::sync::atomic::Ordering;
use throughline_core::Settlement;
use throughline_kafka::{Kafka, Start};

#[tokio::test]
async fn through_errors_that_pass() {
    let cluster = MockCluster::new(1).unwrap();
    let kafka = Kafka::new(cluster.bootstrap_servers());
    let (classic, newer) = (quick(kafka.clone()), kafka.set("group.protocol", "consumer"));
    for (kafka, start, topic) in [
        (&classic, Start::Earliest, "a"),
        (&classic, Start::Latest, "b"),
        (&newer, Start::Earliest, "c"),
        (&newer, Start::Latest, "d"),
    ] {
        cluster.create_topic(topic, 1, 1).unwrap();
        fill(kafka, topic, 1, 100).await;
        let subscription = kafka.group(topic).topic(topic);
        let mut member = Member::join(&subscription, 50).await;
        for delivery in member.take(50).await {
            member.settle(delivery, Settlement::Ack).await.unwrap();
        }
        member.close().await.unwrap();
        cluster.request_errors(
            RDKafkaApiKey::OffsetFetch,
            &[
                Code::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
                Code::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
                Code::RD_KAFKA_RESP_ERR_STALE_MEMBER_EPOCH,
                Code::RD_KAFKA_RESP_ERR_UNKNOWN,
            ],
        );
        let mut member = Member::join(&subscription.clone().start(start), 100).await;
        assert_eq!(offset(&member.take(1).await[0]), 50, "{topic}, {start:?}");
        assert!(member.seen.outages.load(Ordering::SeqCst) > 0, "nobody was told");
        until(|| member.seen.returns.load(Ordering::SeqCst) > 0).await;
        member.close().await.unwrap();
    }
}
