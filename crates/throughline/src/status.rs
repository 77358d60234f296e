//! What a worker says of itself.

use crate::shutdown::Missed;
use std::sync::Arc;
use throughline_core::ByteString;

/// What a worker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum WorkerState {
    /// Messages flow, or would.
    Running,
    /// The user paused it. Membership and leases are kept.
    Paused,
    /// It connects for the first time.
    Starting,
    /// It failed and waits before it starts again.
    BackingOff,
    /// It finishes what runs and takes nothing more.
    Draining,
    /// It ended: it was drained, or its subscription ended.
    Stopped {
        /// Whether nothing was cut off.
        clean: bool,
    },
    /// It failed too often and gave up. Nothing is lost: what it held was given back.
    Failed,
}

impl WorkerState {
    /// Whether nothing comes after it.
    pub(crate) fn is_over(self) -> bool {
        matches!(self, WorkerState::Stopped { .. } | WorkerState::Failed)
    }
}

/// Numbers since the worker was spawned, over all restarts and replicas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Deliveries that came from the broker.
    pub received: u64,
    /// Messages that are done.
    pub acked: u64,
    /// Answers that asked for another delivery, panics and rejections that are held among them.
    pub nacked: u64,
    /// Messages that went to the dead letters, or were discarded because the user said so.
    pub put_aside: u64,
    /// Handlers that panicked.
    pub panicked: u64,
    /// Handlers that were cancelled: by a drain's deadline or a lost lease.
    pub cancelled: u64,
    /// Deliveries that were no longer ours when they were to be settled, or before.
    pub lease_lost: u64,
    /// Settlements that the broker did not take; the messages come again.
    pub settle_failed: u64,
    /// Messages that were gone from the log before they could be delivered, by its retention or by someone's hand.
    pub skipped: u64,
}

/// A message that was rejected and is held, because nobody said where rejected messages go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// The topic or queue.
    pub destination: ByteString,
    /// The partition, where there is one.
    pub partition: Option<i32>,
    /// The offset, where there is one.
    pub offset: Option<i64>,
}

/// A moment's view of a worker and its replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// What it is doing; of several replicas, the one that is worst off.
    pub state: WorkerState,
    /// How often it was started again since the last quiet period.
    pub restarts: u32,
    /// Handlers that run.
    pub in_flight: usize,
    /// Messages that wait in a lane, parked ones among them.
    pub waiting: usize,
    /// Messages that wait for a time to be tried again.
    pub parked: usize,
    /// What happened so far.
    pub counts: Counts,
    /// Where a rejected message is held.
    pub blocked: Option<Blocked>,
    /// Whether the adapter is trying to reach its broker again.
    pub reconnecting: bool,
    /// Topics of the subscription that do not exist, or no longer. Messages of the others flow.
    pub missing: Vec<ByteString>,
    /// How many messages the broker has that are not done, in the partitions that the worker holds; `None` where the
    /// broker does not tell.
    pub lag: Option<u64>,
    /// Whether a loop has been stuck in one handler for more than five seconds.
    pub frozen: bool,
    /// What keeps it from its broker, or why it failed last.
    pub error: Option<String>,
}

impl Status {
    /// Whether the process is worth keeping: no for a worker that gave up or is frozen, and for nothing else.
    pub fn is_live(&self) -> bool {
        self.state != WorkerState::Failed && !self.frozen
    }

    /// Whether it does what it is there for. A worker that was paused or stopped on purpose is ready; one that starts,
    /// restarts, drains or gave up is not.
    pub fn is_ready(&self) -> bool {
        let doing = matches!(
            self.state,
            WorkerState::Running | WorkerState::Paused | WorkerState::Stopped { clean: true }
        );
        doing && !self.frozen && !self.reconnecting
    }

    pub(crate) fn of(report: Report) -> Status {
        Status {
            state: report.state,
            restarts: report.restarts,
            in_flight: 0,
            waiting: 0,
            parked: 0,
            counts: Counts::default(),
            blocked: None,
            reconnecting: false,
            missing: Vec::new(),
            lag: None,
            frozen: report.frozen,
            error: report.error,
        }
    }

    pub(crate) fn merge(mut self, other: Status) -> Status {
        let frozen_over = |s: &Status| (s.state, s.frozen);
        if frozen_over(&other) > frozen_over(&self) {
            self.error = other.error.or(self.error);
        } else {
            self.error = self.error.or(other.error);
        }
        self.state = self.state.max(other.state);
        self.restarts += other.restarts;
        self.in_flight += other.in_flight;
        self.waiting += other.waiting;
        self.parked += other.parked;
        self.counts = self.counts.plus(other.counts);
        self.blocked = self.blocked.or(other.blocked);
        self.reconnecting |= other.reconnecting;
        for topic in other.missing {
            if !self.missing.contains(&topic) {
                self.missing.push(topic);
            }
        }
        self.lag = [self.lag, other.lag].into_iter().flatten().reduce(|a, b| a + b);
        self.frozen |= other.frozen;
        self
    }
}

impl Counts {
    fn plus(self, other: Counts) -> Counts {
        Counts {
            received: self.received + other.received,
            acked: self.acked + other.acked,
            nacked: self.nacked + other.nacked,
            put_aside: self.put_aside + other.put_aside,
            panicked: self.panicked + other.panicked,
            cancelled: self.cancelled + other.cancelled,
            lease_lost: self.lease_lost + other.lease_lost,
            settle_failed: self.settle_failed + other.settle_failed,
            skipped: self.skipped + other.skipped,
        }
    }
}

impl std::fmt::Display for Blocked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.destination)?;
        self.partition.map_or(Ok(()), |partition| write!(f, "/{partition}"))?;
        self.offset.map_or(Ok(()), |offset| write!(f, "/{offset}"))
    }
}

/// What a worker actor last said.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) state: WorkerState,
    pub(crate) restarts: u32,
    pub(crate) frozen: bool,
    pub(crate) error: Option<String>,
    pub(crate) missed: Option<Arc<Missed>>,
}

impl Default for Report {
    fn default() -> Self {
        Report { state: WorkerState::Starting, restarts: 0, frozen: false, error: None, missed: None }
    }
}
