//! What the client calls back with, written down for the poll thread: nothing is decided or waited for in a callback.

use crate::statistics::Statistics;
use rdkafka::{
    ClientContext, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol},
    error::{KafkaError, KafkaResult},
    types::{RDKafkaErrorCode as Code, RDKafkaRespErr},
};
use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
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
    /// The broker's answers to commits.
    pub(crate) commits: Vec<Result<(), Code>>,
    /// The client's own words on its last error.
    pub(crate) reason: Option<(Code, String)>,
    /// The newest.
    pub(crate) statistics: Option<Statistics>,
}

#[derive(Default)]
pub(crate) struct Context {
    inbox: Mutex<Inbox>,
    /// Something waits in the inbox.
    pending: AtomicBool,
    /// Everything was committed and given up: revokes are answered at once.
    leaving: AtomicBool,
}

impl Context {
    pub(crate) fn pending(&self) -> bool {
        self.pending.load(Ordering::Acquire)
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
        std::mem::take(&mut self.inbox().commits)
    }

    pub(crate) fn reason(&self) -> Option<(Code, String)> {
        self.inbox().reason.clone()
    }

    pub(crate) fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
    }

    /// The broker has answered a commit.
    pub(crate) fn committed(&self, result: Result<(), Code>) {
        self.put(|inbox| inbox.commits.push(result));
    }

    fn put(&self, put: impl FnOnce(&mut Inbox)) {
        put(&mut self.inbox());
        self.pending.store(true, Ordering::Release);
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives partitions up, by the protocol of the group.
pub(crate) fn release(consumer: &BaseConsumer<Context>, partitions: &TopicPartitionList) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_unassign(partitions),
        _ => consumer.unassign(),
    }
}

/// Takes partitions, by the protocol of the group.
pub(crate) fn accept(consumer: &BaseConsumer<Context>, partitions: &TopicPartitionList) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_assign(partitions),
        _ => consumer.assign(partitions),
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
    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
        self.inbox().reason = Some((code, reason.to_owned()));
        tracing::debug!(target: "librdkafka", ?code, reason, "client error");
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        log(level, facility, text);
    }

    fn stats_raw(&self, json: &[u8]) {
        if let Some(statistics) = Statistics::parse(json) {
            self.put(|inbox| inbox.statistics = Some(statistics));
        }
    }
}

/// One line of the client's own log.
pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, text: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(target: "librdkafka", facility, "{text}");
        }
        RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => {
            tracing::warn!(target: "librdkafka", facility, "{text}");
        }
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
            tracing::info!(target: "librdkafka", facility, "{text}");
        }
        RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", facility, "{text}"),
    }
}
