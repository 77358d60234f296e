//! How far one group is in one partition: what is out, what is done, what waits to be delivered again.
//!
//! `committed` is the first offset that is not done. Everything from there to the position has a slot: out (handed
//! over and owed an answer), done (out of order), or waiting (given back, or held behind one of its key that was).

use crate::log::{Log, Record};
use bytes::Bytes;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    time::Instant,
};

/// How far the position may be ahead of the committed offset: as wide as the window of the Kafka adapter.
pub(crate) const WINDOW: usize = 65_536;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    Out,
    Done,
    Waiting,
}

/// The state of one group in one partition, during one assignment of it.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    committed: i64,
    slots: VecDeque<Slot>,
    /// How many slots are out.
    out: usize,
    /// How often those were delivered that were given back at least once and are not done.
    counts: HashMap<i64, u32>,
    /// Waiting, and may be delivered now.
    ready: BTreeSet<i64>,
    /// Waiting for a time.
    delayed: BTreeSet<(Instant, i64)>,
    /// All that waits and has a key, with the time of each. Only the first of a key is in `ready` or `delayed`.
    keys: HashMap<Bytes, BTreeMap<i64, Option<Instant>>>,
}

impl Progress {
    /// Nothing delivered yet, all below this offset done.
    pub(crate) fn at(committed: i64) -> Self {
        Progress { committed, ..Progress::default() }
    }

    /// The first offset that is not done: where a new assignment starts.
    pub(crate) fn committed(&self) -> i64 {
        self.committed
    }

    /// Whether nothing new is delivered until the committed offset moves.
    pub(crate) fn is_full(&self) -> bool {
        self.slots.len() >= WINDOW
    }

    /// When the next delayed message may be delivered.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.delayed.first().map(|(due, _)| *due)
    }

    /// Forgets all but the committed offset, as Kafka does when a partition moves, and answers how many were out.
    pub(crate) fn restart(&mut self) -> usize {
        let out = self.out;
        *self = Progress::at(self.committed);
        out
    }

    /// Hands over what may be delivered now, at most `messages` or until `bytes` are reached, in order of the offsets:
    /// first what was given back, then what is new. `give` gets the offset, which delivery of it this is, and the
    /// record. Answers how many, and how many bytes.
    pub(crate) fn take(
        &mut self,
        log: &Log,
        now: Instant,
        messages: usize,
        bytes: usize,
        mut give: impl FnMut(i64, u32, &Record),
    ) -> (usize, usize) {
        let (mut taken, mut size) = (0, 0);
        while let Some((due, offset)) = self.delayed.first().copied().filter(|(due, _)| *due <= now) {
            self.delayed.remove(&(due, offset));
            self.ready.insert(offset);
        }
        while taken < messages && size < bytes {
            let Some(offset) = self.ready.pop_first() else { break };
            let Some(record) = log.get(offset) else { continue };
            if let Some(key) = record.key() {
                self.unqueue(key, offset, now);
            }
            self.put(offset, Slot::Out);
            self.out += 1;
            give(offset, self.counts.get(&offset).map_or(1, |count| count + 1), record);
            (taken, size) = (taken + 1, size + record.size());
        }
        while taken < messages && size < bytes && !self.is_full() {
            let offset = self.committed + self.slots.len() as i64;
            let Some(record) = log.get(offset) else { break };
            let held =
                if self.keys.is_empty() { None } else { record.key().and_then(|key| self.keys.get_mut(key)) };
            if let Some(queue) = held {
                // One of its key waits: it must not overtake.
                queue.insert(offset, None);
                self.slots.push_back(Slot::Waiting);
                continue;
            }
            self.slots.push_back(Slot::Out);
            self.out += 1;
            give(offset, 1, record);
            (taken, size) = (taken + 1, size + record.size());
        }
        (taken, size)
    }

    /// It is done. Answers whether the committed offset moved.
    pub(crate) fn done(&mut self, offset: i64) -> bool {
        if self.slot(offset) != Some(Slot::Out) {
            return false;
        }
        self.out -= 1;
        self.put(offset, Slot::Done);
        if !self.counts.is_empty() {
            self.counts.remove(&offset);
        }
        let before = self.committed;
        while self.slots.front() == Some(&Slot::Done) {
            self.slots.pop_front();
            self.committed += 1;
        }
        self.committed != before
    }

    /// It was given back: available again at `due`, or at once.
    pub(crate) fn give_back(&mut self, offset: i64, key: Option<&Bytes>, due: Option<Instant>) {
        if self.slot(offset) != Some(Slot::Out) {
            return;
        }
        self.out -= 1;
        self.put(offset, Slot::Waiting);
        *self.counts.entry(offset).or_default() += 1;
        if let Some(key) = key {
            let queue = self.keys.entry(key.clone()).or_default();
            let first = queue.first_key_value().map(|(first, due)| (*first, *due));
            queue.insert(offset, due);
            match first {
                Some((first, _)) if first < offset => return,
                Some((first, first_due)) => {
                    self.ready.remove(&first);
                    first_due.map(|first_due| self.delayed.remove(&(first_due, first)));
                }
                None => {}
            }
        }
        self.queue(offset, due);
    }

    /// The first of a key is out again: the next of it may follow.
    fn unqueue(&mut self, key: &Bytes, offset: i64, now: Instant) {
        let Some(queue) = self.keys.get_mut(key) else { return };
        queue.remove(&offset);
        match queue.first_key_value().map(|(next, due)| (*next, *due)) {
            Some((next, due)) => self.queue(next, due.filter(|due| *due > now)),
            None => {
                self.keys.remove(key);
            }
        }
    }

    fn queue(&mut self, offset: i64, due: Option<Instant>) {
        match due {
            Some(due) => self.delayed.insert((due, offset)),
            None => self.ready.insert(offset),
        };
    }

    fn slot(&self, offset: i64) -> Option<Slot> {
        usize::try_from(offset - self.committed).ok().and_then(|at| self.slots.get(at)).copied()
    }

    fn put(&mut self, offset: i64, slot: Slot) {
        if let Some(at) = usize::try_from(offset - self.committed).ok().and_then(|at| self.slots.get_mut(at))
        {
            *at = slot;
        }
    }
}
