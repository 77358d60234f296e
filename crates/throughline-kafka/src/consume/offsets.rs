//! Which offsets of a partition are done: the tracker that decides what may be committed.
//!
//! Free of I/O and of any runtime, so that it can be tested against a naive model. Offsets are completed in any
//! order; what may be committed is the lowest offset that is still open, so that a failed message is never overtaken.
//! Offsets that the broker leaves out (transaction markers, compaction) count as done once a later one is delivered.

/// How far the highest delivered offset may be ahead of the lowest open one.
pub(crate) const WINDOW: i64 = 65_536;

const BITS: i64 = 64;

/// One bit an offset, used as a ring: 8 KiB for each assigned partition, allocated once.
const WORDS: usize = (WINDOW / BITS) as usize;

/// One delivery's place: under which assignment, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    generation: u64,
    pub(crate) offset: i64,
}

/// What became of a settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// It counts.
    Taken,
    /// It belongs to an earlier assignment: nothing was done.
    Stale,
}

/// Why an offset was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The partition is not assigned.
    Unassigned,
    /// It is a window ahead of the lowest open offset: wait until that one is done.
    Full,
    /// It is below what was already delivered: the log was reset.
    WentBack {
        /// The lowest offset still open; at or above the refused one, nothing open is left behind by starting again.
        lowest_open: i64,
    },
}

/// The offsets of one partition.
#[derive(Debug)]
pub(crate) struct Tracker {
    generation: u64,
    assigned: bool,
    /// Everything below is done. Meaningless until the first delivery.
    base: i64,
    /// One past the highest delivered offset; equal to `base` if nothing is open.
    next: i64,
    started: bool,
    /// A set bit is an offset in `base..next` that is done. Every bit outside of that range is clear.
    done: Vec<u64>,
    /// Delivered and neither completed nor given back.
    held: usize,
    /// Completed since this was last asked.
    completed: usize,
}

impl Tracker {
    pub(crate) fn new() -> Self {
        Tracker {
            generation: 0,
            assigned: false,
            base: 0,
            next: 0,
            started: false,
            done: Vec::new(),
            held: 0,
            completed: 0,
        }
    }

    /// A new assignment: nothing of an earlier one counts any more.
    pub(crate) fn assign(&mut self) {
        self.revoke();
        self.assigned = true;
        if self.done.is_empty() {
            self.done.resize(WORDS, 0);
        }
    }

    /// The assignment is over. Says how many deliveries it still had out, whose settlements will be stale.
    pub(crate) fn revoke(&mut self) -> usize {
        self.generation += 1;
        self.assigned = false;
        self.started = false;
        self.done.fill(0);
        (self.base, self.next, self.completed) = (0, 0, 0);
        std::mem::take(&mut self.held)
    }

    /// Takes the next offset that the broker delivered; everything between the one before and this one does not exist.
    pub(crate) fn deliver(&mut self, offset: i64) -> Result<Ticket, Refused> {
        if !self.assigned {
            return Err(Refused::Unassigned);
        }
        if !self.started || (self.base == self.next && offset >= self.next) {
            // Nothing is open, so a gap of any size is passed at once.
            self.started = true;
            self.base = offset;
        } else if offset < self.next {
            return Err(Refused::WentBack { lowest_open: self.base });
        } else if offset - self.base >= WINDOW {
            return Err(Refused::Full);
        } else {
            self.set_done(self.next, offset);
        }
        self.next = offset + 1;
        self.held += 1;
        Ok(Ticket { generation: self.generation, offset })
    }

    /// The message is done. At most once for each ticket.
    pub(crate) fn complete(&mut self, ticket: Ticket) -> Mark {
        if ticket.generation != self.generation || !self.assigned {
            return Mark::Stale;
        }
        debug_assert!(self.base <= ticket.offset && ticket.offset < self.next, "completed twice");
        self.held = self.held.saturating_sub(1);
        self.completed += 1;
        self.set_done(ticket.offset, ticket.offset + 1);
        if ticket.offset == self.base {
            self.advance();
        }
        Mark::Taken
    }

    /// The message was given back undone: it stays open, and holds the commit, until the assignment ends.
    pub(crate) fn give_back(&mut self, ticket: Ticket) -> Mark {
        if ticket.generation != self.generation || !self.assigned {
            return Mark::Stale;
        }
        self.held = self.held.saturating_sub(1);
        Mark::Taken
    }

    /// The log is known to have nothing more below `end`: if nothing is open, all of that is done.
    pub(crate) fn reach(&mut self, end: i64) {
        let open = self.base < self.next || (self.started && end < self.next);
        if self.assigned && !open {
            self.started = true;
            (self.base, self.next) = (end, end);
        }
    }

    /// What may be committed: the lowest offset that is not done. `None` before the first delivery.
    pub(crate) fn lowest_open(&self) -> Option<i64> {
        self.started.then_some(self.base)
    }

    /// How many offsets below `end` are not done.
    pub(crate) fn open_below(&self, end: i64) -> usize {
        let is_open = |offset: &i64| self.done[word(*offset)] >> offset.rem_euclid(BITS) & 1 == 0;
        (self.base..end.min(self.next)).filter(is_open).count()
    }

    /// Whether the next offset in a row would be refused.
    pub(crate) fn full(&self) -> bool {
        self.next - self.base >= WINDOW
    }

    /// How many deliveries are out.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// How many were completed since the last call.
    pub(crate) fn take_completed(&mut self) -> usize {
        std::mem::take(&mut self.completed)
    }

    /// Which assignment this is.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Marks `from..to`, which is shorter than the window.
    fn set_done(&mut self, mut from: i64, to: i64) {
        while from < to {
            let at = from.rem_euclid(BITS);
            let run = (BITS - at).min(to - from);
            self.done[word(from)] |= ones(run) << at;
            from += run;
        }
    }

    /// Moves `base` past all that is done, clearing the bits behind it for the ring's next turn.
    fn advance(&mut self) {
        while self.base < self.next {
            let at = self.base.rem_euclid(BITS);
            let bits = &mut self.done[word(self.base)];
            let run = i64::from((!(*bits >> at)).trailing_zeros()).min(BITS - at);
            *bits &= !(ones(run) << at);
            self.base += run;
            if at + run < BITS {
                break;
            }
        }
        debug_assert!(self.base <= self.next, "a bit was set that nothing was delivered for");
    }
}

fn word(offset: i64) -> usize {
    (offset.rem_euclid(WINDOW) / BITS) as usize
}

fn ones(run: i64) -> u64 {
    if run >= BITS { u64::MAX } else { (1 << run) - 1 }
}

#[cfg(test)]
// Named, since the benches take this file in on its own.
#[path = "offsets/tests.rs"]
mod tests;
