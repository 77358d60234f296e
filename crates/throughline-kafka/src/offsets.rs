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

    /// What may be committed: the lowest offset that is not done. `None` before the first delivery.
    pub(crate) fn lowest_open(&self) -> Option<i64> {
        self.started.then_some(self.base)
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
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn assigned() -> Tracker {
        let mut tracker = Tracker::new();
        tracker.assign();
        tracker
    }

    fn deliver(tracker: &mut Tracker, offsets: std::ops::Range<i64>) -> Vec<Ticket> {
        offsets.map(|o| tracker.deliver(o).unwrap()).collect()
    }

    #[test]
    fn failed_messages_are_not_overtaken_and_come_again() {
        // A, B, D are acknowledged, C and E fail: after a restart from what was committed, C, D and E come again.
        let mut tracker = assigned();
        let tickets = deliver(&mut tracker, 0..5);
        for done in [0, 1, 3] {
            assert_eq!(tracker.complete(tickets[done]), Mark::Taken);
        }
        for failed in [2, 4] {
            tracker.give_back(tickets[failed]);
        }
        assert_eq!(tracker.lowest_open(), Some(2));
        assert_eq!(tracker.held(), 0);
    }

    #[test]
    fn one_failure_among_ten_holds_the_commit_at_exactly_its_offset() {
        let mut tracker = assigned();
        let tickets = deliver(&mut tracker, 0..10);
        for ticket in tickets.into_iter().rev() {
            if ticket.offset == 2 {
                tracker.give_back(ticket)
            } else {
                tracker.complete(ticket)
            };
        }
        assert_eq!(tracker.lowest_open(), Some(2));
    }

    #[test]
    fn a_settlement_of_an_earlier_assignment_is_refused_also_when_the_partition_came_back() {
        let mut tracker = assigned();
        let old = deliver(&mut tracker, 5..7);
        assert_eq!(tracker.revoke(), 2);
        assert_eq!(tracker.complete(old[0]), Mark::Stale);
        tracker.assign();
        let new = deliver(&mut tracker, 5..7);
        assert_eq!(tracker.complete(old[0]), Mark::Stale);
        assert_eq!(tracker.give_back(old[1]), Mark::Stale);
        assert_eq!((tracker.lowest_open(), tracker.held()), (Some(5), 2));
        tracker.complete(new[0]);
        assert_eq!(tracker.lowest_open(), Some(6));
    }

    #[test]
    fn the_window_is_bounded_and_opens_again() {
        let mut tracker = assigned();
        let tickets = deliver(&mut tracker, 7..7 + WINDOW);
        assert!(tracker.full());
        assert_eq!(tracker.deliver(7 + WINDOW), Err(Refused::Full));
        tickets[1..].iter().for_each(|ticket| {
            tracker.complete(*ticket);
        });
        assert!(tracker.full() && tracker.lowest_open() == Some(7));
        tracker.complete(tickets[0]);
        assert_eq!(tracker.lowest_open(), Some(7 + WINDOW));
        assert!(!tracker.full() && tracker.done.iter().all(|bits| *bits == 0));
        assert!(tracker.deliver(7 + WINDOW).is_ok());
    }

    #[test]
    fn a_gap_wider_than_the_window_is_passed_when_nothing_is_open() {
        let mut tracker = assigned();
        let first = tracker.deliver(0).unwrap();
        assert_eq!(tracker.deliver(10 * WINDOW), Err(Refused::Full));
        tracker.complete(first);
        tracker.deliver(10 * WINDOW).unwrap();
        assert_eq!(tracker.lowest_open(), Some(10 * WINDOW));
    }

    #[test]
    fn a_log_that_went_back_is_told() {
        let mut tracker = assigned();
        let tickets = deliver(&mut tracker, 10..13);
        tracker.complete(tickets[0]);
        assert_eq!(tracker.deliver(12), Err(Refused::WentBack { lowest_open: 11 }));
        assert_eq!(tracker.deliver(3), Err(Refused::WentBack { lowest_open: 11 }));
        tracker.complete(tickets[1]);
        tracker.complete(tickets[2]);
        assert_eq!(tracker.deliver(0), Err(Refused::WentBack { lowest_open: 13 }));
    }

    #[derive(Clone, Debug)]
    enum Step {
        /// Delivers after leaving out so many offsets.
        Deliver(i64),
        /// Settles the n-th of those that are out; fail, panic and drop all give back.
        Complete(usize),
        GiveBack(usize),
        /// Settles one of an earlier assignment.
        Late(usize),
        Reassign(i64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let gap = prop_oneof![8 => Just(0_i64), 2 => 1..100_i64, 1 => 0..WINDOW + 10];
        prop_oneof![
            12 => gap.prop_map(Step::Deliver),
            10 => any::<usize>().prop_map(Step::Complete),
            1 => any::<usize>().prop_map(Step::GiveBack),
            1 => any::<usize>().prop_map(Step::Late),
            1 => (0..1_000_000_i64).prop_map(Step::Reassign),
        ]
    }

    /// What the tracker must do, in the plainest words.
    #[derive(Default)]
    struct Model {
        /// Delivered offsets, and whether each is done.
        delivered: BTreeMap<i64, bool>,
        out: Vec<Ticket>,
        old: Vec<Ticket>,
        next: i64,
    }

    impl Model {
        fn open(&self) -> BTreeSet<i64> {
            self.delivered.iter().filter(|(_, done)| !**done).map(|(offset, _)| *offset).collect()
        }

        fn lowest_open(&self) -> Option<i64> {
            let end = self.delivered.keys().last().map(|last| last + 1);
            self.open().first().copied().or(end)
        }
    }

    fn run(start: i64, steps: Vec<Step>) {
        let mut tracker = assigned();
        let mut model = Model { next: start, ..Model::default() };
        for step in steps {
            match step {
                Step::Deliver(gap) => {
                    let offset = model.next + gap;
                    let refused = model.open().first().is_some_and(|low| offset - low >= WINDOW);
                    match tracker.deliver(offset) {
                        Ok(ticket) => {
                            assert!(!refused, "{offset} is beyond the window");
                            model.out.push(ticket);
                            model.delivered.insert(offset, false);
                            model.next = offset + 1;
                        }
                        Err(why) => assert!(refused && why == Refused::Full, "{offset} refused: {why:?}"),
                    }
                }
                Step::Complete(n) if !model.out.is_empty() => {
                    let ticket = model.out.swap_remove(n % model.out.len());
                    assert_eq!(tracker.complete(ticket), Mark::Taken);
                    model.delivered.insert(ticket.offset, true);
                }
                Step::GiveBack(n) if !model.out.is_empty() => {
                    let ticket = model.out.swap_remove(n % model.out.len());
                    assert_eq!(tracker.give_back(ticket), Mark::Taken);
                }
                Step::Late(n) if !model.old.is_empty() => {
                    let ticket = model.old.swap_remove(n % model.old.len());
                    assert_eq!(tracker.complete(ticket), Mark::Stale);
                }
                Step::Reassign(to) => {
                    assert_eq!(tracker.revoke(), model.out.len());
                    assert_eq!(tracker.deliver(to), Err(Refused::Unassigned));
                    tracker.assign();
                    model.old.append(&mut model.out);
                    model.delivered.clear();
                    model.next = to;
                }
                _ => {}
            }
            assert_eq!(tracker.lowest_open(), model.lowest_open());
            assert_eq!(tracker.held(), model.out.len());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_tracker_does_what_the_model_does(
            start in prop_oneof![Just(0_i64), 0..1_000_000_i64, Just(i64::MAX / 2)],
            steps in prop::collection::vec(step(), 1..120),
        ) {
            run(start, steps);
        }
    }
}
