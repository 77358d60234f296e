//! One limit, shared out so that no partition can take all of it.

use crate::PartitionIndex;

/// A limit (permits, or places in a buffer) that the assigned partitions share.
///
/// A partition takes another place only if the free places are then at least the number of *other* assigned
/// partitions that hold none: whatever is stuck, every other partition still gets one. With fewer places than
/// partitions that cannot be had; each then gets at most half of them (at least one).
///
/// ```
/// use throughline_core::{PartitionIndex, Share};
///
/// let mut permits = Share::new(4);
/// let (stuck, other) = (PartitionIndex(0), PartitionIndex(1));
/// permits.assign(stuck);
/// permits.assign(other);
/// while permits.may_take(stuck) {
///     permits.take(stuck, 1);
/// }
/// assert_eq!(permits.held(stuck), 3);
/// assert!(permits.may_take(other));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Share {
    limit: usize,
    used: usize,
    parts: Vec<Part>,
    assigned: usize,
    /// Assigned partitions that hold nothing.
    idle: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Part {
    held: usize,
    assigned: bool,
}

impl Share {
    /// `limit` places, nothing assigned yet.
    pub fn new(limit: usize) -> Self {
        Share { limit, ..Share::default() }
    }

    /// Counts this partition among those that must not be starved.
    pub fn assign(&mut self, partition: PartitionIndex) {
        let part = self.part(partition);
        if !part.assigned {
            part.assigned = true;
            let idle = part.held == 0;
            self.assigned += 1;
            self.idle += usize::from(idle);
        }
    }

    /// No longer counts it; what it holds stays held until released.
    pub fn unassign(&mut self, partition: PartitionIndex) {
        let part = self.part(partition);
        if part.assigned {
            part.assigned = false;
            let idle = part.held == 0;
            self.assigned -= 1;
            self.idle -= usize::from(idle);
        }
    }

    /// Whether this partition may take one more.
    #[inline]
    pub fn may_take(&self, partition: PartitionIndex) -> bool {
        self.room(partition) > 0
    }

    /// How many more this partition may take, if no other takes any meanwhile.
    #[inline]
    pub fn room(&self, partition: PartitionIndex) -> usize {
        let part = self.parts.get(partition.0 as usize).copied().unwrap_or_default();
        let left = self.limit.saturating_sub(self.used);
        if self.limit < self.assigned {
            return left.min((self.limit / 2).max(1).saturating_sub(part.held));
        }
        let others_idle = self.idle - usize::from(part.assigned && part.held == 0);
        left.saturating_sub(others_idle)
    }

    /// Takes `n`, allowed or not: the caller asked [`may_take`](Self::may_take) or [`free`](Self::free) before.
    #[inline]
    pub fn take(&mut self, partition: PartitionIndex, n: usize) {
        let part = self.part(partition);
        let was_idle = part.assigned && part.held == 0 && n > 0;
        part.held += n;
        self.idle -= usize::from(was_idle);
        self.used += n;
    }

    /// Gives `n` back.
    #[inline]
    pub fn release(&mut self, partition: PartitionIndex, n: usize) {
        let part = self.part(partition);
        debug_assert!(part.held >= n, "released more than was taken");
        let n = n.min(part.held);
        part.held -= n;
        let is_idle = part.assigned && part.held == 0 && n > 0;
        self.idle += usize::from(is_idle);
        self.used -= n;
    }

    /// How many may be taken at once without knowing of which partition: what is left beside one for each idle
    /// partition, and one as long as there is an idle one.
    #[inline]
    pub fn free(&self) -> usize {
        let left = self.limit.saturating_sub(self.used);
        if self.limit < self.assigned {
            return left;
        }
        left.saturating_sub(self.idle).max(usize::from(self.idle > 0))
    }

    /// How many are taken in all.
    pub fn used(&self) -> usize {
        self.used
    }

    /// How many this partition holds.
    pub fn held(&self, partition: PartitionIndex) -> usize {
        self.parts.get(partition.0 as usize).map_or(0, |part| part.held)
    }

    /// How many partitions are assigned.
    pub fn assigned(&self) -> usize {
        self.assigned
    }

    /// The partitions that are assigned.
    pub fn partitions(&self) -> impl Iterator<Item = PartitionIndex> + '_ {
        let assigned = self.parts.iter().enumerate().filter(|(_, part)| part.assigned);
        assigned.map(|(n, _)| PartitionIndex(n as u32))
    }

    /// The limit.
    pub fn limit(&self) -> usize {
        self.limit
    }

    #[inline]
    fn part(&mut self, partition: PartitionIndex) -> &mut Part {
        let at = partition.0 as usize;
        if at >= self.parts.len() {
            self.parts.resize_with(at + 1, Part::default);
        }
        &mut self.parts[at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_stuck_partitions_leave_one_place_for_each_other() {
        for (limit, partitions) in [(1, 1), (2, 2), (4, 3), (8, 8), (256, 64)] {
            for stuck in 0..partitions {
                let mut share = Share::new(limit);
                (0..partitions).for_each(|p| share.assign(PartitionIndex(p)));
                for p in 0..=stuck {
                    while share.may_take(PartitionIndex(p)) {
                        share.take(PartitionIndex(p), 1);
                    }
                }
                for p in stuck + 1..partitions {
                    assert!(
                        share.may_take(PartitionIndex(p)),
                        "{p} starves at {limit}/{partitions}, stuck {stuck}"
                    );
                    share.take(PartitionIndex(p), 1);
                }
                assert!(share.used() <= limit);
            }
        }
    }

    #[test]
    fn fewer_places_than_partitions_are_halved() {
        let mut share = Share::new(4);
        (0..9).for_each(|p| share.assign(PartitionIndex(p)));
        while share.may_take(PartitionIndex(0)) {
            share.take(PartitionIndex(0), 1);
        }
        assert_eq!(share.held(PartitionIndex(0)), 2);
        assert!(share.may_take(PartitionIndex(1)));
    }

    #[test]
    fn revoked_partitions_do_not_count_against_the_rest() {
        let mut share = Share::new(2);
        share.assign(PartitionIndex(0));
        share.assign(PartitionIndex(1));
        share.unassign(PartitionIndex(1));
        share.take(PartitionIndex(0), 1);
        assert!(share.may_take(PartitionIndex(0)), "nothing is reserved for what is gone");
        share.unassign(PartitionIndex(0));
        share.release(PartitionIndex(0), 1);
        assert_eq!((share.used(), share.assigned()), (0, 0));
    }
}
