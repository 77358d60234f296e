//! What to consume, and how to share it within the group.

use crate::{
    Kafka, KafkaSource,
    client::errors,
    consume::{hooks::Hooks, transactional::Transactions},
};
use rdkafka::{ClientConfig, config::RDKafkaLogLevel};
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};
use throughline_core::{Capacity, Demand, Error, ErrorKind, Observer, Redelivery, Subscription};

/// Bytes that a worker may hold of a subscription, in all its partitions.
const BUFFER_BYTES: usize = 32 * 1024 * 1024;

const OFFSET_RESET: &str = "auto.offset.reset";

/// Where a group begins in a partition that it has committed nothing of. The default is [`Earliest`](Start::Earliest).
///
/// A committed offset always goes before. If it is gone from the log, because retention removed it or the topic was
/// made anew, the group goes on at the first record that is there, whichever start was chosen: one warning and
/// [`Event::Skipped`](throughline_core::Event::Skipped) say what was passed over. Only [`Committed`](Start::Committed)
/// makes an error of that.
///
/// A broker forgets what a group committed some time after its last member left (`offsets.retention.minutes` there, a
/// week by default): a group that begins anew is named with its partitions in one warning. A member that runs keeps its
/// position, also where nothing was ever sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// At the oldest record that is still there: nothing is passed over.
    #[default]
    Earliest,
    /// At the end: only what comes from then on. A partition that is added to a topic which the group already reads is
    /// read from its start: all of it came since.
    Latest,
    /// At the first record that is as young as this, by its time in the log; at the end if there is none.
    At(SystemTime),
    /// At this offset, or the nearest that is there, in each partition.
    Offset(i64),
    /// Nowhere: an offset must have been committed and still be there. Else the source ends with a
    /// [`NotFound`](ErrorKind::NotFound) error that names the group, the partitions and what is gone.
    Committed,
}

impl Start {
    /// The value of librdkafka's own property.
    fn from_property(value: &str) -> Result<Self, Error> {
        match value {
            "smallest" | "earliest" | "beginning" => Ok(Start::Earliest),
            "largest" | "latest" | "end" => Ok(Start::Latest),
            "error" => Ok(Start::Committed),
            _ => {
                let remedy = "use `earliest`, `latest` or `error`, or choose with `.start(..)`";
                Err(Error::new(ErrorKind::Config, OFFSET_RESET, remedy))
            }
        }
    }
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
    hooks: Hooks,
    commit_interval: Duration,
    revoke_timeout: Duration,
    connect_timeout: Duration,
    exactly_once: Option<String>,
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
            hooks: Hooks::default(),
            commit_interval: Duration::from_secs(1),
            revoke_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(10),
            exactly_once: None,
        }
    }

    /// Where to begin without a committed offset; default [`Start::Earliest`], or what `auto.offset.reset` was set to.
    #[must_use]
    pub fn start(mut self, start: Start) -> Self {
        self.start = Some(start);
        self
    }

    /// Joins as a static member (`group.instance.id`): a restart within the session time-out causes no rebalance. The
    /// identity must be unique in the group, so such a subscription cannot have replicas.
    ///
    /// Of two live members with one identity, the older is fenced under the classic protocol: its worker gives up with
    /// a [`Fenced`](ErrorKind::Fenced) error at its next commit, since both would take it from each other for ever. Under the newer one
    /// (`group.protocol=consumer`) the younger is refused and tries again with backoff, as it must after a crash, until
    /// the session of the other is over or its restarts are used up. It has not started, and is not ready, before the group
    /// has given it a partition, or has said nothing for 5 s.
    #[must_use]
    pub fn static_member(mut self, id: impl Into<String>) -> Self {
        self.static_member = Some(id.into());
        self
    }

    /// How the group's members share partitions; default [`Assignment::Cooperative`]. A live group cannot be changed
    /// from one to the other by a rolling restart: stop all its members first, or stay with what they use. A member that
    /// does not fit ends with a [`Config`](ErrorKind::Config) error that names both, and is not started again.
    ///
    /// With the newer protocol (`.set("group.protocol", "consumer")`, brokers from 4.0 on) the broker assigns and this
    /// is not used; `session.timeout.ms` and `heartbeat.interval.ms` are the broker's too, and librdkafka refuses them. A
    /// group changes to that protocol with its first member that speaks it, unless the broker forbids it
    /// (`group.consumer.migration.policy`): then that member ends with such an error, too.
    #[must_use]
    pub fn assignment(mut self, assignment: Assignment) -> Self {
        self.assignment = Some(assignment);
        self
    }

    /// Called with the partitions, as topic and number, that were given to this member: after it took them, and before
    /// the first of their messages is handed out.
    ///
    /// It runs on the thread that polls the client and must return at once: while it runs nothing is received, and the
    /// whole group may be waiting. It must not wait for a message of this subscription. A panic in it is logged.
    #[must_use]
    pub fn on_assigned(mut self, hook: impl Fn(&[(&str, i32)]) + Send + Sync + 'static) -> Self {
        self.hooks.assigned = Some(Arc::new(hook));
        self
    }

    /// Called with the partitions that are given up or were taken away: their messages are done or lost their lease,
    /// what is done is committed, and the next owner has not begun. Also at the end of the source.
    ///
    /// It runs where [`on_assigned`](Self::on_assigned) does, and the same holds for it.
    #[must_use]
    pub fn on_revoked(mut self, hook: impl Fn(&[(&str, i32)]) + Send + Sync + 'static) -> Self {
        self.hooks.revoked = Some(Arc::new(hook));
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

    /// Consumes in transactions: what a batch's handler sends and that the batch is done become visible together or
    /// not at all, see [`TransactionLayer`](crate::TransactionLayer). There is a producer for each partition that is
    /// assigned, whose `transactional.id` is this, the group, the topic and the partition: choose the same for all members
    /// and all restarts, and another for every other program.
    ///
    /// It wants a worker of batches with that layer and `Ordering::Partition`. [`commit_interval`](Self::commit_interval)
    /// only says how often commits are told.
    #[must_use]
    pub fn exactly_once(mut self, id: impl Into<String>) -> Self {
        self.exactly_once = Some(id.into());
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
        // The client would choose without a word; where to read is looked up by us instead.
        config.set(OFFSET_RESET, "error");
        // The ids of topics are told there, and nowhere else: see `topic_ids`.
        let debug = config.get("debug").map_or_else(|| "topic".to_owned(), |own| format!("{own},topic"));
        config.set("debug", debug).set_log_level(RDKafkaLogLevel::Debug);
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
        config
            .create_native_config()
            .map_err(|error| errors::of_config(error, self.kafka.servers(), &config))?;
        Ok(config)
    }

    pub(crate) fn plan(&self) -> Result<Plan, Error> {
        let config = self.config()?;
        let property = || self.kafka.property(OFFSET_RESET).map(Start::from_property).transpose();
        let start = self.start.map_or_else(property, |start| Ok(Some(start)))?.unwrap_or_default();
        let uncommitted = config.get("isolation.level").is_some_and(|level| level == "read_uncommitted");
        let transactions = self
            .exactly_once
            .as_ref()
            .map(|id| Transactions::new(&self.kafka, &self.group, id))
            .transpose()?;
        if transactions.is_some() && uncommitted {
            let remedy = "with `.exactly_once(..)` what is consumed must be committed, too; leave it out";
            return Err(Error::new(ErrorKind::Config, "isolation.level", remedy));
        }
        Ok(Plan {
            transactions: transactions.map(Arc::new),
            config,
            start,
            read_committed: !uncommitted,
            kafka: self.kafka.clone(),
            group: self.group.clone(),
            topics: self.topics.clone(),
            hooks: self.hooks.clone(),
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
    pub(crate) hooks: Hooks,
    pub(crate) commit_interval: Duration,
    pub(crate) revoke_timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) start: Start,
    /// Whether open and aborted transactions are hidden, as they are by default.
    pub(crate) read_committed: bool,
    /// Makes producers, where it is consumed exactly once.
    pub(crate) transactions: Option<Arc<Transactions>>,
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

    fn in_order(&self) -> bool {
        self.exactly_once.is_some()
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
        assert_eq!(plain.get("partition.assignment.strategy"), Some("cooperative-sticky"));
        let set = group.topic("t").start(Start::Latest).assignment(Assignment::Eager).static_member("m");
        let set = set.plan().unwrap().config;
        assert_eq!(set.get("partition.assignment.strategy"), Some("range,roundrobin"));
        assert_eq!(set.get("group.instance.id"), Some("m"));
    }

    #[test]
    fn the_start_is_ours_to_find_whoever_sets_it() {
        let start = |kafka: Kafka, start| {
            let mut subscription = kafka.group("g").topic("t");
            subscription.start = start;
            subscription.plan().map(|plan| (plan.start, plan.config.get(OFFSET_RESET).map(str::to_owned)))
        };
        let property = |value| Kafka::new("a:1").set(OFFSET_RESET, value);
        let client = Some("error".to_owned());
        assert_eq!(start(Kafka::new("a:1"), None).unwrap(), (Start::Earliest, client.clone()));
        assert_eq!(start(property("latest"), None).unwrap(), (Start::Latest, client.clone()));
        assert_eq!(start(property("error"), None).unwrap(), (Start::Committed, client.clone()));
        assert_eq!(start(property("latest"), Some(Start::Offset(3))).unwrap(), (Start::Offset(3), client));
        assert_eq!(start(property("soon"), None).unwrap_err().kind(), ErrorKind::Config);
    }

    #[test]
    fn empty_names_are_refused() {
        assert!(Kafka::new("a:1").group("").topic("t").plan().is_err());
        assert!(Kafka::new("a:1").group("g").topic("").plan().is_err());
        assert!(Kafka::new("a:1").group("g").topics(Vec::<String>::new()).plan().is_err());
    }
}
