//! Answers on their way to SQS, and the batches that they go in.

use crate::calls::Handle;
use bytes::Bytes;
use std::time::Duration;
use throughline_core::ByteString;
use tokio::time::Instant;

/// SQS takes so many entries in one call.
pub(crate) const BATCH: usize = 10;
/// How long an answer waits for others to fill its batch.
const LINGER: Duration = Duration::from_millis(200);

/// What a message is settled by.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) handle: Handle,
    pub(crate) id: ByteString,
    /// Whose order it belongs to, on a FIFO queue.
    pub(crate) group: Option<ByteString>,
    /// The `traceparent` that it came with.
    pub(crate) context: Option<Bytes>,
}

/// Answers that wait for their batch.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    pub(crate) entries: Vec<Entry>,
    pub(crate) since: Option<Instant>,
}

/// An answer on its way.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) claim: Claim,
    pub(crate) answer: Answer,
    /// Not tried again from here on.
    pub(crate) give_up: Instant,
}

/// What SQS is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Delete,
    /// Hidden for so long from now on, for this settlement.
    Hide(Duration),
}

/// Entries for one call.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) entries: Vec<Entry>,
    pub(crate) tries: u32,
    pub(crate) due: Instant,
}

/// What the keeper has to do now.
#[derive(Debug, Default)]
pub(crate) struct Work {
    pub(crate) answers: Vec<Batch>,
    pub(crate) extensions: Vec<Vec<(u64, Handle, Duration)>>,
    /// When to look again, if nothing happens until then.
    pub(crate) next: Option<Instant>,
}

impl Pending {
    /// When it goes at the latest.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.since.map(|since| since + LINGER)
    }

    pub(crate) fn is_due(&self, now: Instant, at_once: bool) -> bool {
        let waited = self.since.is_some_and(|since| at_once || now >= since + LINGER);
        self.entries.len() >= BATCH || (waited && !self.entries.is_empty())
    }

    pub(crate) fn take(&mut self, now: Instant) -> Batch {
        let rest = self.entries.split_off(self.entries.len().min(BATCH));
        let entries = std::mem::replace(&mut self.entries, rest);
        // What is left came later; by how much does not matter within a fifth of a second.
        self.since = (!self.entries.is_empty()).then_some(now);
        Batch { entries, tries: 0, due: now }
    }
}

impl Work {
    pub(crate) fn look_at(&mut self, at: Option<Instant>) {
        self.next = [self.next, at].into_iter().flatten().min();
    }
}
