//! One partition, shared by the poll thread and the settlers of its messages.

use crate::offsets::{Mark, Refused, Ticket, Tracker};
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
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
        Partition { destination, number, index, tracker: Mutex::new(Tracker::new()), progress }
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
        let (lowest_open, completed) = (tracker.lowest_open(), tracker.take_completed());
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
        let offset = tracker.lowest_open().filter(|offset| *offset > known)?;
        Some((offset, tracker.take_completed()))
    }

    pub(crate) fn generation(&self) -> u64 {
        self.tracker().generation()
    }

    // Held for some 20 ns each time, and never across a call of the client.
    fn tracker(&self) -> MutexGuard<'_, Tracker> {
        self.tracker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
