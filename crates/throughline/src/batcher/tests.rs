//! The batcher against a naive model, and its closing rules one by one.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const AT_MOST: usize = 20;
const WITHIN: Duration = Duration::from_millis(10);

fn policy() -> BatchPolicy {
    BatchPolicy::at_most(AT_MOST).within(WITHIN)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Item {
    number: u32,
    partition: u32,
    key: Option<u8>,
    deliveries: u32,
}

#[derive(Clone, Debug)]
enum Step {
    Push(u32, Option<u8>, usize),
    Next(u32),
    /// Which batch, and each how-manieth message of it is nacked; 0 is none.
    Done(usize, usize),
    Wake(usize),
    Retain(u32),
    Wait(u64),
    End(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..3_u32, prop::option::of(0..3_u8), 1..12_usize).prop_map(|(p, k, n)| Step::Push(p, k, n)),
        5 => (0..4_u32).prop_map(Step::Next),
        4 => (0..8_usize, 0..5_usize).prop_map(|(n, each)| Step::Done(n, each)),
        3 => (0..8_usize).prop_map(Step::Wake),
        1 => (0..12_u32).prop_map(Step::Retain),
        2 => (0..12_u64).prop_map(Step::Wait),
        1 => any::<bool>().prop_map(Step::End),
    ]
}

/// What is ordered with what.
fn class(ordering: Ordering, item: &Item) -> (u32, Option<u8>, Option<u32>) {
    match (ordering, item.key) {
        (Ordering::Key, Some(_)) => (item.partition, item.key, None),
        (Ordering::Partition, _) => (item.partition, None, None),
        _ => (item.partition, None, Some(item.number)),
    }
}

#[derive(Default)]
struct Model {
    waiting: Vec<(Item, Instant)>,
    parked: Vec<(LaneId, Item, Instant)>,
    out: Vec<(usize, Vec<(Item, Place)>)>,
    /// Something was woken: what waited behind it counts as having waited as long as what it overtook, so that a batch
    /// may close before its time, and never after.
    woken: bool,
}

impl Model {
    fn group(ordering: Ordering, item: &Item) -> usize {
        if ordering == Ordering::None { 0 } else { item.partition as usize }
    }

    /// What may be handed out, by group.
    fn free(&self, ordering: Ordering) -> BTreeMap<usize, Vec<(Item, Instant)>> {
        let mut free = BTreeMap::<usize, Vec<_>>::new();
        for (item, since) in &self.waiting {
            let is_held =
                |(_, held, _): &&(LaneId, Item, Instant)| class(ordering, held) == class(ordering, item);
            if self.parked.iter().find(is_held).is_none() {
                free.entry(Self::group(ordering, item)).or_default().push((*item, *since));
            }
        }
        free
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Nothing is lost, nothing twice; what is ordered comes in order, never past what is parked; a batch is handed out
    /// when it is closed and not before, is of one group, and no larger than each of its messages allows.
    #[test]
    fn behaves_as_the_model(
        ordering in prop_oneof![Just(Ordering::Key), Just(Ordering::Partition), Just(Ordering::None)],
        steps in prop::collection::vec(step(), 1..150),
    ) {
        let mut batcher = Batcher::new(policy(), ordering);
        let mut model = Model::default();
        let (mut number, mut now, mut ending) = (0, Instant::now(), false);
        batcher.look(now, ending, |_| false);
        for step in steps {
            match step {
                Step::Push(partition, key, count) => {
                    for _ in 0..count {
                        number += 1;
                        let item = Item { number, partition, key, deliveries: 1 };
                        batcher.push(PartitionIndex(partition), 1, item, |i| i.key.as_ref().map(std::slice::from_ref));
                        model.waiting.push((item, now));
                    }
                }
                Step::Wait(ms) => {
                    now += Duration::from_millis(ms);
                    let next = batcher.look(now, ending, |_| false);
                    let due = model.free(ordering).into_values().filter_map(|free| {
                        let first = free.iter().map(|(_, since)| *since).min()?;
                        Some(first + WITHIN).filter(|due| *due > now)
                    });
                    // Where something was woken a batch may be closed already that the model waits for.
                    prop_assert!(model.woken || next == due.min());
                }
                Step::End(yes) => {
                    ending = yes;
                    batcher.look(now, ending, |_| false);
                }
                Step::Next(closed) => {
                    let open = |group: usize| ordering == Ordering::None || group as u32 != closed;
                    let ready: BTreeMap<_, _> = model.free(ordering).into_iter().filter(|(group, free)| {
                        let oldest = free.iter().map(|(_, since)| *since).min().unwrap();
                        let small = free.iter().any(|(item, _)| policy().limit(item.deliveries) < AT_MOST);
                        let is_closed = ending || small || free.len() >= AT_MOST || now - oldest >= WITHIN;
                        let out = model.out.iter().any(|(of, _)| of == group);
                        is_closed && (ordering == Ordering::None || !out)
                    }).collect();
                    let has_ready = batcher.has_ready();
                    prop_assert!(has_ready != ready.is_empty() || model.woken && has_ready);
                    let may_start = |p: PartitionIndex| ordering == Ordering::None || p.0 != closed;
                    match batcher.next(may_start) {
                        None => prop_assert!(!ready.keys().any(|group| open(*group)), "{ready:?} could start"),
                        Some((group, batch)) => {
                            prop_assert!((model.woken || ready.contains_key(&group)) && open(group));
                            let free = &model.free(ordering)[&group];
                            let small = free.iter().any(|(item, _)| policy().limit(item.deliveries) < AT_MOST);
                            prop_assert!(!batch.is_empty());
                            prop_assert!(small || batch.len() == free.len().min(AT_MOST), "it is full");
                            for entry in &batch {
                                prop_assert!(batch.len() <= policy().limit(entry.item.deliveries));
                                // The first of what it is ordered with that is free.
                                let class_of = class(ordering, &entry.item);
                                let same = |(item, _): &&(Item, Instant)| class(ordering, item) == class_of;
                                let first = model.waiting.iter().filter(same).map(|(item, _)| item.number).min();
                                prop_assert_eq!(first, Some(entry.item.number));
                                prop_assert!(free.iter().any(|(item, _)| *item == entry.item));
                                model.waiting.retain(|(item, _)| item.number != entry.item.number);
                            }
                            model.out.push((group, batch.iter().map(|e| (e.item, e.place)).collect()));
                        }
                    }
                }
                Step::Done(n, each) if !model.out.is_empty() => {
                    let (group, batch) = model.out.remove(n % model.out.len());
                    for (at, (mut item, place)) in batch.into_iter().enumerate() {
                        if each > 0 && at % each == 0 {
                            item.deliveries += 1;
                            let lane = batcher.lane(group, &place);
                            batcher.park(lane, place, item.deliveries, item);
                            model.parked.push((lane, item, now));
                        }
                    }
                    batcher.done(group);
                }
                Step::Wake(n) if !model.parked.is_empty() => {
                    let lane = model.parked[n % model.parked.len()].0;
                    model.woken = true;
                    batcher.wake(lane);
                    let woken = model.parked.extract_if(.., |(of, ..)| *of == lane).collect::<Vec<_>>();
                    model.waiting.extend(woken.into_iter().map(|(_, item, since)| (item, since)));
                    batcher.wake(lane); // a second time it is not there
                }
                Step::Retain(n) => {
                    let keep = |item: &Item| item.number % 12 != n;
                    let mut gone = Vec::new();
                    model.woken |= !model.parked.is_empty();
                    batcher.retain(|item, _| keep(item), |item| gone.push(item.number));
                    let mut expected: Vec<_> = model.waiting.extract_if(.., |(item, _)| !keep(item))
                        .map(|(item, _)| item.number).collect();
                    expected.extend(model.parked.extract_if(.., |(_, item, _)| !keep(item)).map(|(_, item, _)| item.number));
                    gone.sort_unstable();
                    expected.sort_unstable();
                    prop_assert_eq!(gone, expected);
                }
                _ => {}
            }
            prop_assert_eq!(batcher.waiting(), model.waiting.len() + model.parked.len());
            prop_assert_eq!(batcher.parked(), model.parked.len());
        }
        // Everything comes out in the end, and nothing is left behind.
        for (group, _) in model.out {
            batcher.done(group);
        }
        for (lane, ..) in model.parked {
            batcher.wake(lane);
        }
        batcher.look(now, true, |_| false);
        while let Some((group, _)) = batcher.next(|_| true) {
            batcher.done(group);
        }
        prop_assert_eq!((batcher.waiting(), batcher.parked()), (0, 0));
        prop_assert!(batcher.ring.is_empty() && batcher.by_hash.is_empty());
        prop_assert_eq!(batcher.free.len(), batcher.lanes.len());
    }
}

fn push(batcher: &mut Batcher<u32>, partition: u32, numbers: std::ops::Range<u32>) {
    numbers.for_each(|n| batcher.push(PartitionIndex(partition), 1, n, |_| None));
}

fn take(batcher: &mut Batcher<u32>) -> Option<(usize, Vec<u32>)> {
    let (group, batch) = batcher.next(|_| true)?;
    Some((group, batch.into_iter().map(|entry| entry.item).collect()))
}

#[test]
fn a_batch_closes_when_it_is_full_or_when_its_first_message_has_waited() {
    let mut batcher = Batcher::new(BatchPolicy::at_most(3).within(WITHIN), Ordering::Partition);
    let start = Instant::now();
    assert_eq!(batcher.look(start, false, |_| false), None);
    push(&mut batcher, 0, 0..2);
    assert_eq!(batcher.look(start, false, |_| false), Some(start + WITHIN));
    assert!(!batcher.has_ready() && take(&mut batcher).is_none());
    push(&mut batcher, 0, 2..4);
    assert_eq!(take(&mut batcher), Some((0, vec![0, 1, 2])));
    assert_eq!(take(&mut batcher), None, "one of a partition at a time");
    batcher.look(start + WITHIN, false, |_| false);
    assert!(!batcher.has_ready());
    batcher.done(0);
    assert_eq!(take(&mut batcher), Some((0, vec![3])), "it waited its time behind the other");
}

#[test]
fn a_batch_closes_when_nothing_more_can_join_it() {
    for (ending, full) in [(true, None), (false, Some(PartitionIndex(1)))] {
        let mut batcher = Batcher::new(policy(), Ordering::Key);
        let now = Instant::now();
        batcher.look(now, false, |_| false);
        push(&mut batcher, 0, 0..1);
        push(&mut batcher, 1, 1..2);
        batcher.look(now, ending, |partition| Some(partition) == full);
        let mut taken: Vec<_> = std::iter::from_fn(|| take(&mut batcher)).map(|(_, batch)| batch).collect();
        taken.sort_unstable();
        assert_eq!(taken, if ending { vec![vec![0], vec![1]] } else { vec![vec![1]] });
    }
}

#[test]
fn without_an_order_batches_are_of_any_partition_and_side_by_side() {
    let mut batcher = Batcher::new(BatchPolicy::at_most(4).within(WITHIN), Ordering::None);
    push(&mut batcher, 0, 0..3);
    push(&mut batcher, 1, 3..8);
    assert_eq!(take(&mut batcher), Some((0, vec![0, 1, 2, 3])));
    assert_eq!(take(&mut batcher), Some((0, vec![4, 5, 6, 7])));
}

#[test]
fn what_comes_again_does_so_in_ever_smaller_batches() {
    let policy = BatchPolicy::at_most(500);
    let limits = [0, 1, 2, 3, 4, 5, u32::MAX].map(|deliveries| policy.limit(deliveries));
    assert_eq!(limits, [500, 500, 62, 7, 1, 1, 1]);
    assert_eq!([1, 2, 3].map(|deliveries| BatchPolicy::at_most(8).limit(deliveries)), [8, 1, 1]);
    assert_eq!(BatchPolicy::at_most(0).at_most, 1);
}
