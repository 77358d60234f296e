//! One partition, shared by the poll thread and the settlers of its messages.

use crate::consume::{
    offsets::{Mark, Refused, Ticket, Tracker},
    slots::NONE,
};
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering},
};
use throughline_core::{Destination, PartitionIndex};

/// A partition of a topic, for the life of a source: its number stays the same however often it comes and goes.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) destination: Arc<Destination>,
    pub(crate) number: i32,
    pub(crate) index: PartitionIndex,
    tracker: Mutex<Tracker>,
    /// How much was completed in all partitions of the source since the last commit.
    progress: Arc<AtomicUsize>,
    /// What transactions have committed everything below of; without them everything.
    covered: AtomicI64,
    misused: AtomicBool,
}

/// What a batch is to the transactions of its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Span {
    /// All that is open up to its last offset.
    Run,
    /// Committed already.
    Done,
    PartlyDone,
    /// Of an earlier assignment.
    Stale,
    /// Something below is open and not in it.
    Other,
}

/// What a revoked partition leaves behind.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rest {
    /// The lowest offset that was not done, if anything was delivered.
    pub(crate) lowest_open: Option<i64>,
    pub(crate) completed: usize,
    /// Deliveries that were still out.
    pub(crate) held: usize,
}

impl Partition {
    pub(crate) fn new(
        destination: Arc<Destination>,
        number: i32,
        index: PartitionIndex,
        progress: Arc<AtomicUsize>,
    ) -> Self {
        Partition {
            destination,
            number,
            index,
            tracker: Mutex::new(Tracker::new()),
            progress,
            covered: AtomicI64::new(i64::MAX),
            misused: AtomicBool::default(),
        }
    }

    pub(crate) fn topic(&self) -> &str {
        &self.destination.name
    }

    pub(crate) fn assign(&self) {
        self.tracker().assign();
    }

    /// Ends the assignment. What was completed until now and what never will be is one cut, under one lock.
    pub(crate) fn revoke(&self) -> Rest {
        let mut tracker = self.tracker();
        let (lowest_open, completed) = (self.committable(&tracker), tracker.take_completed());
        Rest { lowest_open, completed, held: tracker.revoke() }
    }

    pub(crate) fn deliver(&self, offset: i64) -> Result<Ticket, Refused> {
        self.tracker().deliver(offset)
    }

    pub(crate) fn complete(&self, ticket: Ticket) -> Mark {
        let mark = self.tracker().complete(ticket);
        if mark == Mark::Taken {
            self.progress.fetch_add(1, Ordering::Relaxed);
        }
        mark
    }

    pub(crate) fn give_back(&self, ticket: Ticket) -> Mark {
        self.tracker().give_back(ticket)
    }

    pub(crate) fn held(&self) -> usize {
        self.tracker().held()
    }

    pub(crate) fn full(&self) -> bool {
        self.tracker().full()
    }

    /// The log is read to its end here.
    pub(crate) fn reach(&self, end: i64) {
        self.tracker().reach(end);
    }

    pub(crate) fn lowest_open(&self) -> Option<i64> {
        self.tracker().lowest_open()
    }

    /// The offset that may be committed if it is above `known`, and how many were completed since the last time.
    pub(crate) fn progress_above(&self, known: i64) -> Option<(i64, usize)> {
        let mut tracker = self.tracker();
        let offset = self.committable(&tracker).filter(|offset| *offset > known)?;
        Some((offset, tracker.take_completed()))
    }

    pub(crate) fn generation(&self) -> u64 {
        self.tracker().generation()
    }

    /// From here on only what a transaction has committed counts.
    pub(crate) fn cover_nothing(&self) {
        self.covered.store(NONE, Ordering::Release);
    }

    /// A transaction of this assignment has committed everything below.
    pub(crate) fn cover(&self, generation: u64, offset: i64) {
        let tracker = self.tracker();
        if tracker.generation() == generation {
            self.covered.store(offset, Ordering::Release);
        }
    }

    pub(crate) fn covers(&self, offset: i64) -> bool {
        offset < self.covered.load(Ordering::Acquire)
    }

    /// What these offsets, in their order, are to a transaction.
    pub(crate) fn span(&self, generation: u64, offsets: &[i64]) -> Span {
        let tracker = self.tracker();
        let done = offsets.iter().filter(|offset| self.covers(**offset)).count();
        let end = offsets.last().map_or(0, |last| last + 1);
        match done {
            _ if tracker.generation() != generation => Span::Stale,
            0 if tracker.open_below(end) == offsets.len() => Span::Run,
            0 => Span::Other,
            _ if done == offsets.len() => Span::Done,
            _ => Span::PartlyDone,
        }
    }

    /// Something was acknowledged that no transaction has committed.
    pub(crate) fn misuse(&self, ticket: Ticket) -> Mark {
        let mark = self.give_back(ticket);
        // The poll thread ends the source for it.
        self.misused.fetch_or(mark == Mark::Taken, Ordering::Relaxed);
        mark
    }

    pub(crate) fn is_misused(&self) -> bool {
        self.misused.load(Ordering::Relaxed)
    }

    fn committable(&self, tracker: &Tracker) -> Option<i64> {
        tracker.lowest_open().map(|offset| offset.min(self.covered.load(Ordering::Acquire)))
    }

    // Held for some 20 ns each time, and never across a call of the client.
    fn tracker(&self) -> MutexGuard<'_, Tracker> {
        self.tracker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
