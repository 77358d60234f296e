//! Order within a key.

use super::{Entry, Ev};
use std::collections::{HashMap, HashSet};

/// One key: its messages in the order in which they were produced, and which of them run.
#[derive(Debug, Default)]
struct Key {
    /// Ids in produce order; the ones before `done` are closed.
    order: Vec<u64>,
    done: usize,
    running: Vec<(u64, u32)>,
}

/// Follows the handlers of every key.
///
/// The first start of a message must find every earlier one of its key done or parked: that holds whatever was tried
/// again or delivered twice in between. And it must find no other handler of its key running, in any process.
#[derive(Debug, Default)]
pub(super) struct Keys {
    key_of: HashMap<u64, usize>,
    place_of: HashMap<u64, usize>,
    keys: Vec<Key>,
    closed: HashSet<u64>,
    started: HashSet<u64>,
    bad: HashSet<u64>,
    /// Whether any start of a keyed message was seen.
    pub(super) seen: bool,
}

impl Keys {
    /// Learns keys and produce order: by offset where the broker told one, since acknowledgements of one key may
    /// be written down in another order than that of the log; else as they come.
    pub(super) fn new(entries: &[Entry<'_>]) -> Self {
        let mut keys = Keys::default();
        let mut names = HashMap::new();
        let mut produced: Vec<Vec<(Option<i64>, usize, u64)>> = Vec::new();
        for (n, entry) in entries.iter().enumerate() {
            let (Some(id), Some(name)) = (entry.id, &entry.key) else { continue };
            let key = *names.entry((&entry.topic, name)).or_insert_with(|| {
                produced.push(Vec::new());
                produced.len() - 1
            });
            if entry.ev == Ev::Produced && keys.place_of.insert(id, 0).is_none() {
                produced[key].push((entry.offset, n, id));
            }
            keys.key_of.entry(id).or_insert(key);
        }
        for mut list in produced {
            list.sort_unstable();
            let order: Vec<u64> = list.into_iter().map(|(_, _, id)| id).collect();
            keys.place_of.extend(order.iter().enumerate().map(|(place, id)| (*id, place)));
            keys.keys.push(Key { order, ..Key::default() });
        }
        keys
    }

    pub(super) fn next(&mut self, entry: &Entry<'_>) {
        if let (Ev::Killed, Some(victim)) = (entry.ev, entry.victim) {
            self.keys.iter_mut().for_each(|key| key.running.retain(|(_, pid)| *pid != victim));
            return;
        }
        let Some(id) = entry.id else { return };
        let Some(key) = self.key_of.get(&id).map(|key| &mut self.keys[*key]) else { return };
        match entry.ev {
            Ev::Started => {
                self.seen = true;
                while key.order.get(key.done).is_some_and(|id| self.closed.contains(id)) {
                    key.done += 1;
                }
                let early = self.place_of.get(&id).is_some_and(|place| key.done < *place);
                if (self.started.insert(id) && early) || !key.running.is_empty() {
                    self.bad.insert(id);
                }
                key.running.push((id, entry.pid));
            }
            Ev::Finished | Ev::Acked | Ev::Parked | Ev::Failed => {
                if entry.ev != Ev::Failed {
                    self.closed.insert(id);
                }
                if let Some(at) = key.running.iter().position(|running| *running == (id, entry.pid)) {
                    key.running.swap_remove(at);
                }
            }
            _ => {}
        }
    }

    pub(super) fn reordered(&self) -> u64 {
        self.bad.len() as u64
    }
}
