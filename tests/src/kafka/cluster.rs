//! A real Kafka as a site.

use crate::Site;
use std::{collections::BTreeMap, time::Duration};
use throughline::{
    Error,
    kafka::{self, Kafka, KafkaSink, KafkaSubscription},
};
use throughline_test::conformance::{Broker, Features, Start};

/// The broker that the test command started. Without one a test fails: it must not pass unseen.
fn servers() -> String {
    std::env::var("THROUGHLINE_KAFKA").expect(
        "THROUGHLINE_KAFKA=host:port names the broker; run `cargo xtask test`, which starts one and sets it",
    )
}

/// A cluster, that of the test command or one of a test's own.
#[derive(Clone, Debug)]
pub struct Cluster {
    kafka: Kafka,
    servers: String,
}

/// Enough for the largest record of a scenario: a key of 1 MiB.
const LARGEST: &str = "4194304";

impl Cluster {
    /// The broker of the test command.
    #[allow(clippy::new_without_default, reason = "it asks the environment")]
    pub fn new() -> Self {
        Cluster::at(servers())
    }

    /// The one behind these servers.
    pub fn at(servers: impl Into<String>) -> Self {
        let servers = servers.into();
        let kafka = Kafka::new(servers.clone())
            .set("message.max.bytes", LARGEST)
            // A group then sees a change of its members at once.
            .set("heartbeat.interval.ms", "300")
            .set("session.timeout.ms", "6000");
        Cluster { kafka, servers }
    }

    /// What its subscriptions and sinks are made with.
    pub fn kafka(&self) -> &Kafka {
        &self.kafka
    }

    /// `host:port`.
    pub fn servers(&self) -> &str {
        &self.servers
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
        self.kafka.admin().create_topic_with(name, partitions, &[("max.message.bytes", LARGEST)]).await
    }

    fn subscription(&self, topic: &str, group: &str, start: Start) -> KafkaSubscription {
        let start = match start {
            Start::Earliest => kafka::Start::Earliest,
            Start::Latest => kafka::Start::Latest,
        };
        self.kafka.group(group).topic(topic).start(start).commit_interval(Duration::from_millis(100))
    }

    fn sink(&self, topic: &str) -> KafkaSink {
        self.kafka.topic(topic)
    }
}

impl Site for Cluster {
    const NAME: &'static str = "kafka";

    async fn committed(&self, topic: &str, group: &str) -> BTreeMap<i32, i64> {
        let committed = self.kafka.admin().committed(group, topic).await.unwrap();
        committed.into_iter().filter_map(|(partition, offset)| Some((partition, offset?))).collect()
    }
}
