//! Which messages make a batch, and when it closes.
//!
//! Free of I/O and tokio, as `lanes.rs` is, so that it is tested against a model.

use crate::lanes::{Hashes, LaneId, Ordering};
use hashbrown::HashMap;
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};
use throughline_core::PartitionIndex;

/// When a batch closes: at a number of messages, or some time after the first of them came.
///
/// It also closes when nothing more can join it: at a drain, when its subscription ended, and when the worker's buffer
/// or the partition's share of it is full. A batch that has closed waits for a handler and for the one before it in its
/// partition.
///
/// A message that **comes again** does so in a smaller batch, an eighth of the size at each delivery and alone in the
/// end: of a batch that failed as a whole, the message that made it fail is found in a few deliveries, and an outage
/// does not leave thousands of batches of one.
///
/// ```
/// use std::time::Duration;
/// use throughline::BatchPolicy;
///
/// let policy = BatchPolicy::at_most(500).within(Duration::from_millis(20));
/// # drop(policy);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchPolicy {
    pub(crate) at_most: usize,
    within: Duration,
}

impl BatchPolicy {
    /// At so many messages, at least 1; and 100 ms after the first, if it is not said otherwise.
    pub const fn at_most(messages: usize) -> Self {
        let at_most = if messages == 0 { 1 } else { messages };
        BatchPolicy { at_most, within: Duration::from_millis(100) }
    }

    /// So long after its first message came; zero is as soon as a handler is free, with what is there.
    #[must_use]
    pub const fn within(mut self, time: Duration) -> Self {
        self.within = time;
        self
    }

    /// How large a batch may be that has a message of this many deliveries.
    pub(crate) fn limit(&self, deliveries: u32) -> usize {
        let shift = deliveries.saturating_sub(1).saturating_mul(3);
        self.at_most.checked_shr(shift).unwrap_or(0).max(1)
    }
}

/// Messages that wait for their batch, and those that are parked with what is ordered behind them.
///
/// A group is what batches are made of: a partition, or everything where nothing has an order. Of a group with order
/// one batch is out at a time. What is parked holds what [`Ordering`] says is ordered with it, and nothing else.
pub(crate) struct Batcher<T> {
    policy: BatchPolicy,
    ordering: Ordering,
    hashes: Hashes,
    groups: Vec<Group<T>>,
    /// Groups in which something waits; they take turns.
    ring: VecDeque<usize>,
    lanes: Vec<Lane<T>>,
    free: Vec<usize>,
    /// Two keys of equal hash share a lane, as in `lanes.rs`.
    by_hash: HashMap<u64, usize>,
    waiting: usize,
    parked: usize,
    now: Instant,
    ending: bool,
}

struct Group<T> {
    queue: VecDeque<Entry<T>>,
    out: usize,
    /// Entries of a smaller limit.
    small: usize,
    /// Nothing more can join.
    full: bool,
}

/// A message that waits.
pub(crate) struct Entry<T> {
    pub(crate) item: T,
    pub(crate) place: Place,
    limit: usize,
    since: Instant,
}

/// Where a message belongs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) partition: PartitionIndex,
    /// Of what it is ordered with.
    hash: Option<u64>,
    /// Where it was parked last.
    pub(crate) lane: Option<LaneId>,
}

/// What is parked, first, and what waits behind it.
struct Lane<T> {
    generation: u32,
    hash: Option<u64>,
    entries: VecDeque<Entry<T>>,
    parked: usize,
}

impl<T> Batcher<T> {
    pub(crate) fn new(policy: BatchPolicy, ordering: Ordering) -> Self {
        Batcher {
            policy,
            ordering,
            hashes: Hashes::new(ordering),
            groups: Vec::new(),
            ring: VecDeque::new(),
            lanes: Vec::new(),
            free: Vec::new(),
            by_hash: HashMap::default(),
            waiting: 0,
            parked: 0,
            now: Instant::now(),
            ending: false,
        }
    }

    /// Puts an item at the end of its group, or behind what is parked and ordered with it.
    pub(crate) fn push(
        &mut self,
        partition: PartitionIndex,
        deliveries: u32,
        item: T,
        key: impl for<'a> FnOnce(&'a T) -> Option<&'a [u8]>,
    ) {
        self.waiting += 1;
        let hash = self.hashes.of(partition, key(&item));
        let place = Place { partition, hash, lane: None };
        let entry = Entry { item, place, limit: self.policy.limit(deliveries), since: self.now };
        match hash.and_then(|hash| self.by_hash.get(&hash)) {
            Some(&lane) => self.lanes[lane].entries.push_back(entry),
            None => self.wait(entry, false),
        }
    }

    /// Learns the time, whether nothing more will come, and of which partitions nothing more can. When the next batch
    /// closes by itself.
    pub(crate) fn look(
        &mut self,
        now: Instant,
        ending: bool,
        full: impl Fn(PartitionIndex) -> bool,
    ) -> Option<Instant> {
        (self.now, self.ending) = (now, ending);
        let mut next = None;
        for &at in &self.ring {
            let group = &mut self.groups[at];
            let Some(first) = group.queue.front() else { continue };
            group.full = full(first.place.partition);
            let due = first.since.checked_add(self.policy.within).filter(|due| *due > now);
            next = next.into_iter().chain(due).min();
        }
        next
    }

    /// Whether a batch is closed and none of its group is out.
    pub(crate) fn has_ready(&self) -> bool {
        self.ring.iter().any(|at| self.is_ready(*at))
    }

    fn is_ready(&self, at: usize) -> bool {
        let group = &self.groups[at];
        let Some(first) = group.queue.front() else { return false };
        let closed = self.ending
            || group.full
            || group.small > 0
            || group.queue.len() >= self.policy.at_most
            || self.now.saturating_duration_since(first.since) >= self.policy.within;
        closed && (group.out == 0 || self.ordering == Ordering::None)
    }

    /// The next batch, and its group for [`done`](Self::done). Its permit is that of the partition of the first
    /// message.
    pub(crate) fn next(
        &mut self,
        may_start: impl Fn(PartitionIndex) -> bool,
    ) -> Option<(usize, Vec<Entry<T>>)> {
        for _ in 0..self.ring.len() {
            let at = self.ring.pop_front()?;
            let first = self.groups[at].queue.front().map(|first| first.place.partition);
            if !self.is_ready(at) || !first.is_some_and(&may_start) {
                self.ring.push_back(at);
                continue;
            }
            let group = &mut self.groups[at];
            let (mut taken, mut limit) = (Vec::new(), self.policy.at_most);
            while let Some(entry) = group.queue.front()
                && taken.len() < limit.min(entry.limit)
            {
                limit = limit.min(entry.limit);
                taken.extend(group.queue.pop_front());
            }
            group.small -= taken.iter().filter(|entry| entry.limit < self.policy.at_most).count();
            group.out += 1;
            if !group.queue.is_empty() {
                self.ring.push_back(at);
            }
            self.waiting -= taken.len();
            return Some((at, taken));
        }
        None
    }

    /// A batch of this group is done; what of it comes again is parked already.
    pub(crate) fn done(&mut self, group: usize) {
        self.groups[group].out -= 1;
    }

    /// Where to park a message of this group's batch: with what of it is parked already and ordered with it.
    pub(crate) fn lane(&mut self, group: usize, place: &Place) -> LaneId {
        let known = place.hash.and_then(|hash| self.by_hash.get(&hash)).copied();
        let index = known.unwrap_or_else(|| self.open(group, place.hash));
        LaneId { index: index as u32, generation: self.lanes[index].generation }
    }

    /// Parks it there until [`wake`](Self::wake).
    pub(crate) fn park(&mut self, id: LaneId, place: Place, deliveries: u32, item: T) {
        let lane = &mut self.lanes[id.index as usize];
        let place = Place { lane: Some(id), ..place };
        let entry = Entry { item, place, limit: self.policy.limit(deliveries), since: self.now };
        lane.entries.insert(lane.parked, entry);
        lane.parked += 1;
        (self.waiting, self.parked) = (self.waiting + 1, self.parked + 1);
    }

    /// How long an item has waited.
    pub(crate) fn waited(&self, entry: &Entry<T>) -> Duration {
        self.now.saturating_duration_since(entry.since)
    }

    /// What is parked in this lane is due. It and what waited behind it go first in their group.
    pub(crate) fn wake(&mut self, id: LaneId) {
        let index = id.index as usize;
        if self.lanes[index].parked > 0 && self.lanes[index].generation == id.generation {
            self.close(index);
        }
    }

    /// Takes out every waiting and parked item that `keep` says no to, and hands it to `gone`. `keep` is told whether
    /// the item is parked or behind one that is.
    pub(crate) fn retain(&mut self, keep: impl Fn(&T, bool) -> bool, mut gone: impl FnMut(T)) {
        for at in 0..self.groups.len() {
            let group = &mut self.groups[at];
            for entry in std::mem::take(&mut group.queue) {
                if keep(&entry.item, false) {
                    group.queue.push_back(entry);
                } else {
                    self.waiting -= 1;
                    group.small -= usize::from(entry.limit < self.policy.at_most);
                    gone(entry.item);
                }
            }
        }
        self.ring.retain(|at| !self.groups[*at].queue.is_empty());
        for index in 0..self.lanes.len() {
            let lane = &mut self.lanes[index];
            if lane.parked == 0 {
                continue;
            }
            let parked = lane.parked;
            for (at, entry) in std::mem::take(&mut lane.entries).into_iter().enumerate() {
                if keep(&entry.item, true) {
                    lane.entries.push_back(entry);
                } else {
                    self.waiting -= 1;
                    lane.parked -= usize::from(at < parked);
                    self.parked -= usize::from(at < parked);
                    gone(entry.item);
                }
            }
            if lane.parked == 0 {
                self.close(index);
            }
        }
    }

    /// Items that wait or are parked.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Items that are parked.
    pub(crate) fn parked(&self) -> usize {
        self.parked
    }

    /// Lets an entry wait in its group, as its last or its first.
    fn wait(&mut self, mut entry: Entry<T>, first: bool) {
        let at = match self.ordering {
            Ordering::None => 0,
            Ordering::Key | Ordering::Partition => entry.place.partition.0 as usize,
        };
        if at >= self.groups.len() {
            let empty = || Group { queue: VecDeque::new(), out: 0, small: 0, full: false };
            self.groups.resize_with(at + 1, empty);
        }
        let group = &mut self.groups[at];
        if group.queue.is_empty() {
            self.ring.push_back(at);
        }
        group.small += usize::from(entry.limit < self.policy.at_most);
        if first {
            // The first of a group has always waited longest.
            let longest = group.queue.front().map_or(entry.since, |next| next.since);
            entry.since = entry.since.min(longest);
            group.queue.push_front(entry);
        } else {
            group.queue.push_back(entry);
        }
    }

    /// A lane to park in; what waits in the group and is ordered with it goes behind.
    fn open(&mut self, group: usize, hash: Option<u64>) -> usize {
        let index = self.free.pop().unwrap_or_else(|| {
            self.lanes.push(Lane { generation: 0, hash: None, entries: VecDeque::new(), parked: 0 });
            self.lanes.len() - 1
        });
        self.lanes[index].hash = hash;
        if let Some(hash) = hash {
            self.by_hash.insert(hash, index);
            let group_of = &mut self.groups[group];
            for entry in std::mem::take(&mut group_of.queue) {
                if entry.place.hash == Some(hash) {
                    group_of.small -= usize::from(entry.limit < self.policy.at_most);
                    self.lanes[index].entries.push_back(entry);
                } else {
                    group_of.queue.push_back(entry);
                }
            }
            if group_of.queue.is_empty() {
                self.ring.retain(|at| *at != group);
            }
        }
        index
    }

    fn close(&mut self, index: usize) {
        let lane = &mut self.lanes[index];
        lane.generation = lane.generation.wrapping_add(1);
        self.parked -= std::mem::take(&mut lane.parked);
        if let Some(hash) = lane.hash.take() {
            self.by_hash.remove(&hash);
        }
        for entry in std::mem::take(&mut lane.entries).into_iter().rev() {
            self.wait(entry, true);
        }
        self.free.push(index);
    }
}

impl<T> std::fmt::Debug for Batcher<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batcher").field("waiting", &self.waiting).field("parked", &self.parked).finish()
    }
}

#[cfg(test)]
mod tests;
