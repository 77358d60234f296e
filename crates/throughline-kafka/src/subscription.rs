//! What to consume, and how to share it within the group.

use crate::{Kafka, KafkaSource, errors};
use rdkafka::ClientConfig;
use std::time::Duration;
use throughline_core::{Capacity, Demand, Error, ErrorKind, Observer, Redelivery, Subscription};

/// Bytes that a worker may hold of a subscription, in all its partitions.
const BUFFER_BYTES: usize = 32 * 1024 * 1024;

/// Where a group begins that has committed nothing yet, or whose offset is no longer in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// At the oldest record that is still there: nothing is passed over.
    #[default]
    Earliest,
    /// At the end: only what comes from then on.
    Latest,
}

/// How the members of a group share its partitions. All members must use the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Assignment {
    /// Only the partitions that move are stopped at a rebalance (`cooperative-sticky`).
    #[default]
    Cooperative,
    /// Every member gives up everything at each rebalance (`range,roundrobin`, the older clients' way).
    Eager,
}

/// Topics to consume as a member of a group: made by [`KafkaGroup::topic`](crate::KafkaGroup::topic).
///
/// The broker has no nack: a message that failed is held by the worker and tried again there, and the committed offset
/// stays below it ([`Redelivery::Worker`]).
#[derive(Clone, Debug)]
pub struct KafkaSubscription {
    kafka: Kafka,
    group: String,
    topics: Vec<String>,
    start: Option<Start>,
    static_member: Option<String>,
    assignment: Option<Assignment>,
    commit_interval: Duration,
    revoke_timeout: Duration,
    connect_timeout: Duration,
}

impl KafkaSubscription {
    pub(crate) fn new(kafka: Kafka, group: String, topics: Vec<String>) -> Self {
        KafkaSubscription {
            kafka,
            group,
            topics,
            start: None,
            static_member: None,
            assignment: None,
            commit_interval: Duration::from_secs(1),
            revoke_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(10),
        }
    }

    /// Where to begin without a committed offset; default [`Start::Earliest`].
    #[must_use]
    pub fn start(mut self, start: Start) -> Self {
        self.start = Some(start);
        self
    }

    /// Joins as a static member (`group.instance.id`): a restart within the session time-out causes no rebalance. The
    /// identity must be unique in the group, so such a subscription cannot have replicas.
    #[must_use]
    pub fn static_member(mut self, id: impl Into<String>) -> Self {
        self.static_member = Some(id.into());
        self
    }

    /// How the group's members share partitions; default [`Assignment::Cooperative`]. A live group cannot be changed
    /// from one to the other by a rolling restart: stop all its members first.
    #[must_use]
    pub fn assignment(mut self, assignment: Assignment) -> Self {
        self.assignment = Some(assignment);
        self
    }

    /// How often what is done is committed; default 1 s, and sooner after 10,000 messages. What was settled within this
    /// time comes again after a crash.
    #[must_use]
    pub fn commit_interval(mut self, interval: Duration) -> Self {
        self.commit_interval = interval;
        self
    }

    /// How long the messages of a partition that moves to another member may take to finish; default 5 s. After it
    /// their lease is lost. The whole group waits for it; it must be well below `max.poll.interval.ms`.
    #[must_use]
    pub fn revoke_timeout(mut self, timeout: Duration) -> Self {
        self.revoke_timeout = timeout;
        self
    }

    /// How long the servers may take to answer at the start; default 10 s.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    fn config(&self) -> Result<ClientConfig, Error> {
        let mut config = self.kafka.consumer_config()?;
        if self.group.is_empty() {
            return Err(Error::new(ErrorKind::Config, "group", "a consumer group needs a name"));
        }
        if self.topics.is_empty() || self.topics.iter().any(|topic| topic.is_empty() || topic.contains('\0'))
        {
            return Err(Error::new(
                ErrorKind::Config,
                "topics",
                "name at least one topic, none of them empty",
            ));
        }
        config.set("group.id", &self.group);
        if let Some(id) = &self.static_member {
            config.set("group.instance.id", id);
        }
        let start = match self.start {
            Some(Start::Latest) => Some("latest"),
            Some(Start::Earliest) => Some("earliest"),
            None => config.get("auto.offset.reset").is_none().then_some("earliest"),
        };
        if let Some(start) = start {
            config.set("auto.offset.reset", start);
        }
        // With the newer group protocol the broker chooses, and librdkafka refuses the property.
        let newer = config.get("group.protocol").is_some_and(|p| p.eq_ignore_ascii_case("consumer"));
        let strategy = match self.assignment {
            Some(Assignment::Eager) => Some("range,roundrobin"),
            Some(Assignment::Cooperative) => Some("cooperative-sticky"),
            None => config.get("partition.assignment.strategy").is_none().then_some("cooperative-sticky"),
        };
        if let (Some(strategy), false) = (strategy, newer) {
            config.set("partition.assignment.strategy", strategy);
        }
        config.create_native_config().map_err(|error| errors::from_client(error, self.kafka.servers()))?;
        Ok(config)
    }

    pub(crate) fn plan(&self) -> Result<Plan, Error> {
        let config = self.config()?;
        let uncommitted = config.get("isolation.level").is_some_and(|level| level == "read_uncommitted");
        Ok(Plan {
            config,
            read_committed: !uncommitted,
            kafka: self.kafka.clone(),
            group: self.group.clone(),
            topics: self.topics.clone(),
            commit_interval: self.commit_interval,
            revoke_timeout: self.revoke_timeout,
            connect_timeout: self.connect_timeout,
        })
    }
}

/// Everything a poll thread needs, checked.
pub(crate) struct Plan {
    pub(crate) config: ClientConfig,
    pub(crate) kafka: Kafka,
    pub(crate) group: String,
    pub(crate) topics: Vec<String>,
    pub(crate) commit_interval: Duration,
    pub(crate) revoke_timeout: Duration,
    pub(crate) connect_timeout: Duration,
    /// Whether open and aborted transactions are hidden, as they are by default.
    pub(crate) read_committed: bool,
}

impl Subscription for KafkaSubscription {
    type Source = KafkaSource;

    /// Connects, and checks that the topics exist.
    ///
    /// # Errors
    /// `Config` for a bad setting, `Unreachable` if no server answers within [`connect_timeout`](Self::connect_timeout),
    /// `Denied` for refused credentials, `NotFound` for a topic that does not exist.
    async fn subscribe(&self, demand: Demand, observer: Observer) -> Result<KafkaSource, Error> {
        KafkaSource::connect(self.plan()?, demand, observer).await
    }

    fn redelivery(&self) -> Redelivery {
        Redelivery::Worker
    }

    fn capacity(&self, in_flight: usize) -> Capacity {
        Capacity { messages: in_flight.saturating_mul(5), bytes: BUFFER_BYTES }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_reach_the_client() {
        let group = Kafka::new("a:1").group("g");
        let plain = group.topic("t").plan().unwrap().config;
        assert_eq!(plain.get("auto.offset.reset"), Some("earliest"));
        assert_eq!(plain.get("partition.assignment.strategy"), Some("cooperative-sticky"));
        let set = group.topic("t").start(Start::Latest).assignment(Assignment::Eager).static_member("m");
        let set = set.plan().unwrap().config;
        assert_eq!(set.get("auto.offset.reset"), Some("latest"));
        assert_eq!(set.get("partition.assignment.strategy"), Some("range,roundrobin"));
        assert_eq!(set.get("group.instance.id"), Some("m"));
    }

    #[test]
    fn empty_names_are_refused() {
        assert!(Kafka::new("a:1").group("").topic("t").plan().is_err());
        assert!(Kafka::new("a:1").group("g").topic("").plan().is_err());
        assert!(Kafka::new("a:1").group("g").topics(Vec::<String>::new()).plan().is_err());
    }
}
