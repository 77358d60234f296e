//! A real Kafka as a site.

use std::{collections::BTreeMap, time::Duration};
use throughline::{
    Error,
    kafka::{self, Kafka, KafkaSink, KafkaSubscription},
};
use throughline_test::conformance::{Broker, Features, Start};
use throughline_tests::Site;

/// The broker that the test command started. Without one a test fails: it must not pass unseen.
pub(crate) fn servers() -> String {
    std::env::var("THROUGHLINE_KAFKA").expect(
        "THROUGHLINE_KAFKA=host:port names the broker; run `cargo xtask test`, which starts one and sets it",
    )
}

/// The cluster.
pub(crate) struct Cluster(Kafka);

/// Enough for the largest record of a scenario: a key of 1 MiB.
const LARGEST: &str = "4194304";

impl Cluster {
    pub(crate) fn new() -> Self {
        let kafka = Kafka::new(servers())
            .set("message.max.bytes", LARGEST)
            // A group then sees a change of its members at once.
            .set("heartbeat.interval.ms", "300")
            .set("session.timeout.ms", "6000");
        Cluster(kafka)
    }
}

impl Broker for Cluster {
    type Subscription = KafkaSubscription;
    type Sink = KafkaSink;

    fn features(&self) -> Features {
        Features { transactions: false, ..Features::ALL }
    }

    async fn create_topic(&self, name: &str, partitions: u32) -> Result<(), Error> {
        let partitions = i32::try_from(partitions).unwrap();
        self.0.admin().create_topic_with(name, partitions, &[("max.message.bytes", LARGEST)]).await
    }

    fn subscription(&self, topic: &str, group: &str, start: Start) -> KafkaSubscription {
        let start = match start {
            Start::Earliest => kafka::Start::Earliest,
            Start::Latest => kafka::Start::Latest,
        };
        self.0.group(group).topic(topic).start(start).commit_interval(Duration::from_millis(100))
    }

    fn sink(&self, topic: &str) -> KafkaSink {
        self.0.topic(topic)
    }
}

impl Site for Cluster {
    const NAME: &'static str = "kafka";

    async fn committed(&self, topic: &str, group: &str) -> BTreeMap<i32, i64> {
        let committed = self.0.admin().committed(group, topic).await.unwrap();
        committed.into_iter().filter_map(|(partition, offset)| Some((partition, offset?))).collect()
    }
}
