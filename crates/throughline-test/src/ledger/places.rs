//! Commits against what is open below them.

use super::{Entry, Ev};
use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, HashSet},
};

/// A topic, where a run has several, and a partition.
type At<'a> = (Option<Cow<'a, str>>, i32);

/// Follows every partition: which offsets are known and not done, and where the commit is.
#[derive(Debug, Default)]
pub(super) struct Places<'a> {
    partitions: HashMap<At<'a>, Partition>,
    /// Where each id is.
    place_of: HashMap<u64, Vec<(At<'a>, i64)>>,
    done: HashSet<u64>,
    /// Open offsets that a commit passed, each counted once.
    pub(super) passed: u64,
    /// Commits below an earlier one.
    pub(super) went_back: u64,
    /// Whether any commit was seen.
    pub(super) seen: bool,
}

#[derive(Debug, Default)]
struct Partition {
    open: BTreeMap<i64, u64>,
    committed: Option<i64>,
}

impl<'a> Places<'a> {
    pub(super) fn next(&mut self, entry: &Entry<'a>) {
        if let (Ev::Committed, Some(partition), Some(offset)) = (entry.ev, entry.partition, entry.offset) {
            self.commit((entry.topic.clone(), partition), offset);
            return;
        }
        let Some(id) = entry.id else { return };
        // A publish counts as much as a delivery: what the broker has and the commit passes is gone either way.
        if let (Some(partition), Some(offset)) = (entry.partition, entry.offset)
            && !self.done.contains(&id)
        {
            let at = (entry.topic.clone(), partition);
            if self.partitions.entry(at.clone()).or_default().open.insert(offset, id).is_none() {
                self.place_of.entry(id).or_default().push((at, offset));
            }
        }
        if matches!(entry.ev, Ev::Finished | Ev::Acked | Ev::Parked) && self.done.insert(id) {
            for (at, offset) in self.place_of.remove(&id).unwrap_or_default() {
                if let Some(partition) = self.partitions.get_mut(&at) {
                    partition.open.remove(&offset);
                }
            }
        }
    }

    fn commit(&mut self, at: At<'a>, offset: i64) {
        self.seen = true;
        let partition = self.partitions.entry(at).or_default();
        // What was passed is taken out, so that a later commit does not count it again.
        let above = partition.open.split_off(&offset);
        self.passed += partition.open.len() as u64;
        partition.open = above;
        self.went_back += u64::from(partition.committed.is_some_and(|before| offset < before));
        partition.committed = partition.committed.max(Some(offset));
    }
}
