//! The lanes against a naive model.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

type Item = (u32, Option<u8>, u32); // partition, key, number

#[derive(Clone, Debug)]
enum Step {
    Push(u32, Option<u8>),
    /// Whether it is held or done at once.
    Claim(u32, Option<u8>, bool),
    Next(u32),
    Done(usize),
    Park(usize),
    Wake(usize),
    Retain(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3_u32, prop::option::of(0..4_u8)).prop_map(|(p, k)| Step::Push(p, k)),
        2 => (0..3_u32, prop::option::of(0..4_u8), any::<bool>()).prop_map(|(p, k, h)| Step::Claim(p, k, h)),
        4 => (0..4_u32).prop_map(Step::Next),
        3 => (0..8_usize).prop_map(Step::Done),
        2 => (0..8_usize).prop_map(Step::Park),
        2 => (0..8_usize).prop_map(Step::Wake),
        1 => (0..12_u32).prop_map(Step::Retain),
    ]
}

fn lane_of(ordering: Ordering, (partition, key, number): Item) -> (u32, Option<u8>, Option<u32>) {
    match (ordering, key) {
        (Ordering::Key, Some(_)) => (partition, key, None),
        (Ordering::Partition, _) => (partition, None, None),
        _ => (partition, None, Some(number)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Against a naive model: nothing lost, nothing twice, order in each lane, one at a time in each lane, and
    /// what may start is found.
    #[test]
    fn behaves_as_the_model(
        ordering in prop_oneof![Just(Ordering::Key), Just(Ordering::Partition), Just(Ordering::None)],
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut lanes = Lanes::new(ordering);
        let mut waiting: BTreeMap<_, VecDeque<Item>> = BTreeMap::new();
        let mut running: Vec<(LaneId, Item)> = Vec::new();
        let mut parked: Vec<(LaneId, Item)> = Vec::new();
        let mut number = 0;
        for step in steps {
            match step {
                Step::Push(p, k) => {
                    number += 1;
                    let item = (p, k, number);
                    lanes.push(PartitionIndex(p), item, |i| i.1.as_ref().map(std::slice::from_ref));
                    waiting.entry(lane_of(ordering, item)).or_default().push_back(item);
                }
                Step::Claim(p, k, held) => {
                    number += 1;
                    let item = (p, k, number);
                    let lane = lane_of(ordering, item);
                    let there = running.iter().chain(&parked).any(|(_, i)| lane_of(ordering, *i) == lane)
                        || waiting.get(&lane).is_some_and(|queue| !queue.is_empty());
                    let claim = lanes.claim(PartitionIndex(p), k.as_ref().map(std::slice::from_ref));
                    prop_assert_eq!(claim.is_some(), !there);
                    if let Some(claim) = claim.filter(|_| held) {
                        running.push((lanes.hold(claim), item));
                    }
                }
                Step::Next(closed) => {
                    let busy: Vec<_> = running.iter().chain(&parked).map(|(_, i)| lane_of(ordering, *i)).collect();
                    let could: Vec<Item> = waiting
                        .iter()
                        .filter(|(lane, queue)| !busy.contains(lane) && lane.0 != closed && !queue.is_empty())
                        .map(|(_, queue)| queue[0])
                        .collect();
                    match lanes.next(|p| p.0 != closed) {
                        None => prop_assert!(could.is_empty(), "{could:?} could start"),
                        Some((id, item)) => {
                            prop_assert!(could.contains(&item), "{item:?} of {could:?}");
                            waiting.get_mut(&lane_of(ordering, item)).unwrap().pop_front();
                            running.push((id, item));
                        }
                    }
                }
                Step::Done(n) if !running.is_empty() => {
                    let (id, _) = running.remove(n % running.len());
                    lanes.done(id);
                }
                Step::Park(n) if !running.is_empty() => {
                    let (id, item) = running.remove(n % running.len());
                    lanes.park(id, item);
                    parked.push((id, item));
                }
                Step::Wake(n) if !parked.is_empty() => {
                    let (id, item) = parked.remove(n % parked.len());
                    prop_assert!(lanes.wake(id));
                    waiting.entry(lane_of(ordering, item)).or_default().push_front(item);
                }
                Step::Retain(n) => {
                    let keep = |i: &Item| i.2 % 12 != n;
                    let mut gone = Vec::new();
                    lanes.retain(|i, _| keep(i), |i| gone.push(i));
                    let mut expected: Vec<_> =
                        waiting.values().flatten().copied().filter(|i| !keep(i)).collect();
                    for queue in waiting.values_mut() {
                        queue.retain(|i| keep(i));
                    }
                    for (id, item) in std::mem::take(&mut parked) {
                        if keep(&item) {
                            parked.push((id, item));
                        } else {
                            expected.push(item);
                            prop_assert!(!lanes.wake(id), "a parked item that is gone is not waited for");
                        }
                    }
                    gone.sort_unstable();
                    expected.sort_unstable();
                    prop_assert_eq!(gone, expected);
                }
                _ => {}
            }
            let queued: usize = waiting.values().map(VecDeque::len).sum();
            prop_assert_eq!(lanes.waiting(), queued + parked.len());
            prop_assert_eq!(lanes.parked(), parked.len());
        }
        // Everything comes out in the end, and nothing is left behind.
        for (id, _) in parked {
            lanes.wake(id);
        }
        for (id, _) in running {
            lanes.done(id);
        }
        while let Some((id, _)) = lanes.next(|_| true) {
            lanes.done(id);
        }
        prop_assert_eq!(lanes.waiting(), 0);
        prop_assert!(lanes.by_hash.is_empty() && lanes.free_lanes.len() == lanes.lanes.len());
        prop_assert_eq!(lanes.free_nodes.len(), lanes.nodes.len());
    }
}

#[test]
fn a_partition_that_may_not_start_does_not_hide_the_others() {
    let mut lanes = Lanes::new(Ordering::None);
    (0..100).for_each(|n| lanes.push(PartitionIndex(0), n, |_| None));
    lanes.push(PartitionIndex(1), 100, |_| None);
    assert_eq!(lanes.next(|p| p.0 == 1).map(|(_, n)| n), Some(100));
    assert_eq!(lanes.next(|p| p.0 == 1), None);
}

#[test]
fn no_key_is_no_lane_and_an_empty_key_is_one() {
    let mut lanes = Lanes::new(Ordering::Key);
    for n in 0..2 {
        lanes.push(PartitionIndex(0), ("null", n), |_| None);
        lanes.push(PartitionIndex(0), ("empty", n), |_| Some(b""));
    }
    let started: Vec<_> = std::iter::from_fn(|| lanes.next(|_| true)).map(|(_, item)| item).collect();
    assert_eq!(started, [("null", 0), ("empty", 0), ("null", 1)]);
}
