//! Who goes next: one at a time in a lane, lanes side by side.
//!
//! Free of I/O, time and tokio, so that it is tested against a model. Indices in place of pointers and boxes: in a
//! steady state nothing is allocated for a message.

use hashbrown::{DefaultHashBuilder, HashMap, hash_map::Entry};
use std::{
    collections::VecDeque,
    hash::{BuildHasher, BuildHasherDefault, Hasher},
};
use throughline_core::PartitionIndex;

/// What is handled one at a time and in order; everything else of a worker runs side by side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ordering {
    /// Messages of one partition with equal keys. A message without a key has no order; an empty key is a key.
    #[default]
    Key,
    /// Messages of one partition.
    Partition,
    /// Nothing.
    None,
}

/// The hash of what orders a message: two of the same are handled one after the other.
pub(crate) struct Hashes {
    ordering: Ordering,
    hasher: DefaultHashBuilder,
}

impl Hashes {
    pub(crate) fn new(ordering: Ordering) -> Self {
        Hashes { ordering, hasher: DefaultHashBuilder::default() }
    }

    /// `None` of what has no order.
    #[inline]
    pub(crate) fn of(&self, partition: PartitionIndex, key: Option<&[u8]>) -> Option<u64> {
        match (self.ordering, key) {
            (Ordering::None, _) | (Ordering::Key, None) => None,
            (Ordering::Key, Some(key)) => Some(self.hasher.hash_one((partition, key))),
            (Ordering::Partition, _) => Some(self.hasher.hash_one(partition)),
        }
    }
}

/// A lane that runs or is parked. Stale ones are told apart from whatever took their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LaneId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// The right to start an item that never waited. Its lane is opened only if it stays.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    partition: PartitionIndex,
    hash: Option<u64>,
}

/// Waiting and parked items, by lane.
pub(crate) struct Lanes<T> {
    hashes: Hashes,
    /// From the hash of what orders to its lane. Two keys of equal hash share a lane: one more order than was asked
    /// for, never one less, and no key need be kept.
    by_hash: HashMap<u64, u32, BuildHasherDefault<Identity>>,
    lanes: Vec<Lane<T>>,
    free_lanes: Vec<u32>,
    /// What waits behind the first of a lane.
    nodes: Vec<Node<T>>,
    free_nodes: Vec<u32>,
    /// Ready lanes of each partition, and the partitions that have any: a partition that may not start does not
    /// make the search for the others longer.
    ready: Vec<VecDeque<LaneId>>,
    ring: VecDeque<PartitionIndex>,
    waiting: usize,
    parked: usize,
}

struct Lane<T> {
    generation: u32,
    state: State,
    partition: PartitionIndex,
    hash: Option<u64>,
    first: Option<T>,
    rest: Option<(u32, u32)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Vacant,
    Ready,
    Running,
    Parked,
}

struct Node<T> {
    item: Option<T>,
    next: Option<u32>,
}

/// The map is keyed by hashes already.
#[derive(Default)]
struct Identity(u64);

impl<T> Lanes<T> {
    pub(crate) fn new(ordering: Ordering) -> Self {
        Lanes {
            hashes: Hashes::new(ordering),
            by_hash: HashMap::default(),
            lanes: Vec::new(),
            free_lanes: Vec::new(),
            nodes: Vec::new(),
            free_nodes: Vec::new(),
            ready: Vec::new(),
            ring: VecDeque::new(),
            waiting: 0,
            parked: 0,
        }
    }

    /// Puts an item at the end of its lane.
    pub(crate) fn push(
        &mut self,
        partition: PartitionIndex,
        item: T,
        key: impl for<'a> FnOnce(&'a T) -> Option<&'a [u8]>,
    ) {
        self.waiting += 1;
        let hash = self.hashes.of(partition, key(&item));
        let Some(hash) = hash else {
            let index = open(&mut self.lanes, &mut self.free_lanes, partition, None, Some(item));
            return self.make_ready(index);
        };
        // One look for both ways.
        match self.by_hash.entry(hash) {
            Entry::Occupied(lane) => {
                let index = *lane.get();
                self.append(index, item);
            }
            Entry::Vacant(free) => {
                let index = open(&mut self.lanes, &mut self.free_lanes, partition, Some(hash), Some(item));
                free.insert(index);
                self.make_ready(index);
            }
        }
    }

    /// Lets an item of this key start past its lane, if nothing of that is there. Until [`hold`](Self::hold) or the
    /// item's end nothing else may be done here.
    #[inline]
    pub(crate) fn claim(&self, partition: PartitionIndex, key: Option<&[u8]>) -> Option<Claim> {
        let hash = self.hashes.of(partition, key);
        let taken = hash.is_some_and(|hash| self.by_hash.contains_key(&hash));
        (!taken).then_some(Claim { partition, hash })
    }

    /// The item of a claim was not done at once: its lane runs from here on, as after [`next`](Self::next).
    pub(crate) fn hold(&mut self, Claim { partition, hash }: Claim) -> LaneId {
        let index = open(&mut self.lanes, &mut self.free_lanes, partition, hash, None);
        if let Some(hash) = hash {
            self.by_hash.insert(hash, index);
        }
        let lane = &mut self.lanes[index as usize];
        lane.state = State::Running;
        LaneId { index, generation: lane.generation }
    }

    /// The next item that may start: partitions take turns, and so do the lanes of each. The lane runs until
    /// [`done`](Self::done) or [`park`](Self::park).
    pub(crate) fn next(&mut self, may_start: impl Fn(PartitionIndex) -> bool) -> Option<(LaneId, T)> {
        for _ in 0..self.ring.len() {
            let partition = self.ring.pop_front()?;
            let at = partition.0 as usize;
            if !may_start(partition) {
                self.ring.push_back(partition);
                continue;
            }
            let mut found = None;
            while let Some(id) = self.ready[at].pop_front() {
                let lane = &mut self.lanes[id.index as usize];
                // Stale if `retain` took its items away.
                if lane.generation == id.generation && lane.state == State::Ready {
                    lane.state = State::Running;
                    found = lane.first.take().map(|item| (id, item));
                    break;
                }
            }
            if !self.ready[at].is_empty() {
                self.ring.push_back(partition);
            }
            if let Some((id, item)) = found {
                self.refill(id.index);
                self.waiting -= 1;
                return Some((id, item));
            }
        }
        None
    }

    /// Whether [`next`](Self::next) would look at anything.
    pub(crate) fn has_ready(&self) -> bool {
        !self.ring.is_empty()
    }

    /// What ran is done; the lane goes on with what waits in it.
    pub(crate) fn done(&mut self, id: LaneId) {
        if self.is(id, State::Running) {
            if self.lanes[id.index as usize].first.is_some() {
                self.make_ready(id.index);
            } else {
                self.close(id.index);
            }
        }
    }

    /// What ran comes again later, and holds its lane until [`wake`](Self::wake).
    pub(crate) fn park(&mut self, id: LaneId, item: T) {
        debug_assert!(self.is(id, State::Running), "only a running lane is parked");
        self.waiting += 1;
        self.parked += 1;
        let lane = &mut self.lanes[id.index as usize];
        lane.state = State::Parked;
        if let Some(second) = lane.first.replace(item) {
            let rest = lane.rest;
            let node = self.node(second, rest.map(|(first, _)| first));
            self.lanes[id.index as usize].rest = Some((node, rest.map_or(node, |(_, last)| last)));
        }
    }

    /// The time of a parked lane has come. Says whether it was still there.
    pub(crate) fn wake(&mut self, id: LaneId) -> bool {
        let there = self.is(id, State::Parked);
        if there {
            self.parked -= 1;
            self.make_ready(id.index);
        }
        there
    }

    /// Takes out every waiting and parked item that `keep` says no to, and hands it to `gone`. `keep` is told whether
    /// the item's lane is parked.
    pub(crate) fn retain(&mut self, keep: impl Fn(&T, bool) -> bool, mut gone: impl FnMut(T)) {
        for index in 0..self.lanes.len() as u32 {
            if self.lanes[index as usize].state == State::Vacant {
                continue;
            }
            let before = self.lanes[index as usize].state;
            let mut kept = VecDeque::new();
            while let Some(item) = self.take_first(index) {
                if keep(&item, before == State::Parked) {
                    kept.push_back(item);
                } else {
                    self.waiting -= 1;
                    // What is parked is the first; without it there is nothing left to wait for.
                    if kept.is_empty() && self.lanes[index as usize].state == State::Parked {
                        self.parked -= 1;
                        self.lanes[index as usize].state = State::Ready;
                    }
                    gone(item);
                }
            }
            for item in kept {
                self.append(index, item);
            }
            let lane = &self.lanes[index as usize];
            match (before, lane.first.is_some()) {
                (State::Running, _) => {}
                (_, false) => self.close(index),
                (State::Parked, true) if lane.state == State::Ready => self.make_ready(index),
                _ => {}
            }
        }
    }

    /// Items that wait or are parked.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Lanes that are parked.
    pub(crate) fn parked(&self) -> usize {
        self.parked
    }

    fn is(&self, id: LaneId, state: State) -> bool {
        let lane = &self.lanes[id.index as usize];
        lane.generation == id.generation && lane.state == state
    }

    fn close(&mut self, index: u32) {
        let lane = &mut self.lanes[index as usize];
        lane.state = State::Vacant;
        lane.generation = lane.generation.wrapping_add(1);
        if let Some(hash) = lane.hash.take() {
            self.by_hash.remove(&hash);
        }
        self.free_lanes.push(index);
    }

    #[inline]
    fn make_ready(&mut self, index: u32) {
        let lane = &mut self.lanes[index as usize];
        lane.state = State::Ready;
        let (id, partition) = (LaneId { index, generation: lane.generation }, lane.partition);
        let at = partition.0 as usize;
        if at >= self.ready.len() {
            self.ready.resize_with(at + 1, VecDeque::new);
        }
        if self.ready[at].is_empty() {
            self.ring.push_back(partition);
        }
        self.ready[at].push_back(id);
    }

    fn append(&mut self, index: u32, item: T) {
        let lane = &mut self.lanes[index as usize];
        if lane.first.is_none() {
            lane.first = Some(item);
            return;
        }
        let rest = lane.rest;
        let node = self.node(item, None);
        if let Some((_, last)) = rest {
            self.nodes[last as usize].next = Some(node);
        }
        self.lanes[index as usize].rest = Some((rest.map_or(node, |(first, _)| first), node));
    }

    fn node(&mut self, item: T, next: Option<u32>) -> u32 {
        if let Some(index) = self.free_nodes.pop() {
            self.nodes[index as usize] = Node { item: Some(item), next };
            return index;
        }
        self.nodes.push(Node { item: Some(item), next });
        (self.nodes.len() - 1) as u32
    }

    fn take_first(&mut self, index: u32) -> Option<T> {
        let item = self.lanes[index as usize].first.take()?;
        self.refill(index);
        Some(item)
    }

    /// Moves the next of the rest to the front.
    #[inline]
    fn refill(&mut self, index: u32) {
        let Some((first, last)) = self.lanes[index as usize].rest else { return };
        let node = &mut self.nodes[first as usize];
        let (item, next) = (node.item.take(), node.next.take());
        self.free_nodes.push(first);
        let lane = &mut self.lanes[index as usize];
        lane.first = item;
        lane.rest = next.map(|next| (next, last));
    }
}

/// A lane with its first item, in a place that was used before if there is one.
#[inline]
fn open<T>(
    lanes: &mut Vec<Lane<T>>,
    free: &mut Vec<u32>,
    partition: PartitionIndex,
    hash: Option<u64>,
    first: Option<T>,
) -> u32 {
    if let Some(index) = free.pop() {
        let lane = &mut lanes[index as usize];
        (lane.partition, lane.hash, lane.first) = (partition, hash, first);
        return index;
    }
    lanes.push(Lane { generation: 0, state: State::Vacant, partition, hash, first, rest: None });
    (lanes.len() - 1) as u32
}

impl<T> std::fmt::Debug for Lanes<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lanes").field("waiting", &self.waiting).field("parked", &self.parked).finish()
    }
}

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 << 8) | u64::from(byte);
        }
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = n;
    }
}

#[cfg(test)]
mod tests;
