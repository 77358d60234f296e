//! What the client calls back with, written down for the poll thread: nothing is decided or waited for in a callback.

use crate::{
    client::{log, oauth::Tokens},
    consume::{asking::Answer, statistics::Statistics, topic_ids::TopicIds},
};
use rdkafka::{
    ClientContext, TopicPartitionList,
    client::OAuthToken,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol},
    error::{KafkaError, KafkaResult},
    types::{RDKafkaErrorCode as Code, RDKafkaRespErr},
};
use std::{
    error::Error as StdError,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// A change of the assignment that must be answered.
pub(crate) enum Change {
    Assign(TopicPartitionList),
    Revoke {
        partitions: TopicPartitionList,
        /// Taken from us already: another member may own them by now.
        lost: bool,
    },
}

#[derive(Default)]
pub(crate) struct Inbox {
    pub(crate) changes: Vec<Change>,
    /// What the broker answered.
    pub(crate) answers: Vec<Answer>,
    /// The client's own words on its last error.
    pub(crate) reason: Option<(Code, String)>,
    /// The newest.
    pub(crate) statistics: Option<Statistics>,
    /// A name stands for another topic than before.
    pub(crate) made_anew: bool,
}

#[derive(Default)]
pub(crate) struct Context {
    inbox: Mutex<Inbox>,
    /// Something waits in the inbox.
    pending: AtomicBool,
    /// Everything was committed and given up: revokes are answered at once.
    leaving: AtomicBool,
    pub(crate) topic_ids: TopicIds,
    tokens: Option<Tokens>,
}

impl Context {
    pub(crate) fn new(tokens: Option<&Tokens>) -> Self {
        Context { tokens: tokens.cloned(), ..Context::default() }
    }

    pub(crate) fn pending(&self) -> bool {
        self.pending.load(Ordering::Acquire)
    }

    /// Whether the assignment is to change.
    pub(crate) fn has_change(&self) -> bool {
        self.pending() && !self.inbox().changes.is_empty()
    }

    pub(crate) fn take(&self) -> Inbox {
        self.pending.store(false, Ordering::Release);
        let mut inbox = self.inbox();
        let reason = inbox.reason.clone();
        std::mem::replace(&mut inbox, Inbox { reason, ..Inbox::default() })
    }

    /// The answers to commits alone; changes of the assignment wait.
    pub(crate) fn take_commits(&self) -> Vec<Result<(), Code>> {
        if !self.pending() {
            return Vec::new();
        }
        let mut inbox = self.inbox();
        let (mut commits, mut others) = (Vec::new(), Vec::new());
        for answer in inbox.answers.drain(..) {
            match answer {
                Answer::Commit(result) => commits.push(result),
                other => others.push(other),
            }
        }
        inbox.answers = others;
        commits
    }

    pub(crate) fn reason(&self) -> Option<(Code, String)> {
        self.inbox().reason.clone()
    }

    pub(crate) fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
    }

    /// The broker has answered.
    pub(crate) fn answer(&self, answer: Answer) {
        self.put(|inbox| inbox.answers.push(answer));
    }

    fn put(&self, put: impl FnOnce(&mut Inbox)) {
        put(&mut self.inbox());
        self.pending.store(true, Ordering::Release);
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether partitions are taken and given up one by one.
pub(crate) fn is_cooperative(consumer: &BaseConsumer<Context>) -> bool {
    matches!(consumer.rebalance_protocol(), RebalanceProtocol::Cooperative)
}

/// Moves partitions that we hold to other places. An eager assignment must be given as a whole.
pub(crate) fn reassign(consumer: &BaseConsumer<Context>, partitions: &TopicPartitionList) -> KafkaResult<()> {
    // The client refuses to seek in a partition that it has stopped to read.
    if is_cooperative(consumer) {
        consumer.incremental_unassign(partitions)?;
    }
    accept(consumer, partitions)
}

/// Gives partitions up, by the protocol of the group.
pub(crate) fn release(consumer: &BaseConsumer<Context>, partitions: &TopicPartitionList) -> KafkaResult<()> {
    if is_cooperative(consumer) { consumer.incremental_unassign(partitions) } else { consumer.unassign() }
}

/// Takes partitions, by the protocol of the group.
pub(crate) fn accept(consumer: &BaseConsumer<Context>, partitions: &TopicPartitionList) -> KafkaResult<()> {
    if is_cooperative(consumer) {
        consumer.incremental_assign(partitions)
    } else {
        consumer.assign(partitions)
    }
}

/// Answers a change while we leave: takes nothing, gives up everything.
pub(crate) fn refuse(consumer: &BaseConsumer<Context>, change: &Change) {
    let result = match change {
        Change::Assign(_) => consumer.unassign(),
        Change::Revoke { partitions, .. } => release(consumer, partitions),
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a change of the assignment while leaving");
    }
}

impl ConsumerContext for Context {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        err: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let partitions = partitions.clone();
        let change = if err == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            Change::Assign(partitions)
        } else {
            Change::Revoke { partitions, lost: consumer.assignment_lost() }
        };
        if self.leaving.load(Ordering::Acquire) {
            refuse(consumer, &change);
        } else {
            self.put(|inbox| inbox.changes.push(change));
        }
    }
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn StdError>> {
        Tokens::generate(self.tokens.as_ref())
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
        // That all are down follows each single reason, and says less.
        if code != Code::AllBrokersDown {
            self.inbox().reason = Some((code, reason.to_owned()));
        }
        tracing::debug!(target: "librdkafka", ?code, reason, "client error");
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        if log::hung_up(facility, text) {
            self.inbox().reason = Some((Code::BrokerTransportFailure, text.to_owned()));
        }
        if matches!(level, RDKafkaLogLevel::Debug) && self.topic_ids.hear(text) {
            self.put(|inbox| inbox.made_anew = true);
        }
        log::pass_on(level, facility, text);
    }

    fn stats_raw(&self, json: &[u8]) {
        if let Some(statistics) = Statistics::parse(json) {
            self.put(|inbox| inbox.statistics = Some(statistics));
        }
    }
}
