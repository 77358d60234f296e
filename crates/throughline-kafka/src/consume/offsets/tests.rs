//! The tracker, case by case and against a naive model.

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
    /// Says that so many offsets from here on do not exist.
    Reach(i64),
    Reassign(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let gap = prop_oneof![8 => Just(0_i64), 2 => 1..100_i64, 1 => 0..WINDOW + 10];
    prop_oneof![
        12 => gap.prop_map(Step::Deliver),
        10 => any::<usize>().prop_map(Step::Complete),
        1 => any::<usize>().prop_map(Step::GiveBack),
        1 => any::<usize>().prop_map(Step::Late),
        1 => (-5..WINDOW * 2).prop_map(Step::Reach),
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
    /// Known to be the end.
    end: Option<i64>,
}

impl Model {
    fn open(&self) -> BTreeSet<i64> {
        self.delivered.iter().filter(|(_, done)| !**done).map(|(offset, _)| *offset).collect()
    }

    fn lowest_open(&self) -> Option<i64> {
        let end = self.delivered.keys().last().map(|last| last + 1);
        self.open().first().copied().or(self.end).or(end)
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
                        model.end = None;
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
            Step::Reach(further) => {
                let end = model.next + further;
                tracker.reach(end);
                // Before the first delivery of an assignment, whatever the client says is taken.
                let fresh = model.delivered.is_empty() && model.end.is_none();
                if model.open().is_empty() && (fresh || further >= 0) {
                    (model.next, model.end) = (end, Some(end));
                }
            }
            Step::Reassign(to) => {
                assert_eq!(tracker.revoke(), model.out.len());
                assert_eq!(tracker.deliver(to), Err(Refused::Unassigned));
                tracker.assign();
                model.old.append(&mut model.out);
                model.delivered.clear();
                (model.next, model.end) = (to, None);
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
