//! When parked lanes are due.

use crate::lanes::LaneId;
use std::{cmp::Reverse, collections::BinaryHeap};
use tokio::time::Instant;

/// The lanes that wait for a time. An entry whose lane is gone by then is skipped by whoever takes it.
#[derive(Debug, Default)]
pub(crate) struct Parked(BinaryHeap<Reverse<(Instant, LaneId)>>);

impl Parked {
    pub(crate) fn push(&mut self, due: Instant, lane: LaneId) {
        self.0.push(Reverse((due, lane)));
    }

    /// When the first is due.
    pub(crate) fn first(&self) -> Option<Instant> {
        self.0.peek().map(|Reverse((due, _))| *due)
    }

    /// The next that is due.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<LaneId> {
        self.first().filter(|due| *due <= now)?;
        self.0.pop().map(|Reverse((_, lane))| lane)
    }
}
