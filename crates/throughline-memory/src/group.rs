//! A group: members that share the partitions of their topics, and how far it is in each.

use crate::{effects::Effects, progress::Progress};
use std::{collections::HashMap, sync::Arc, task::Waker};
use throughline_core::{Demand, Destination, Lease, LeaseOwner, PartitionIndex};

#[derive(Default)]
pub(crate) struct Group {
    pub(crate) members: Vec<Member>,
    pub(crate) parts: Vec<Part>,
    /// Where the parts of a topic begin in `parts`; they lie side by side.
    pub(crate) first_part: HashMap<usize, usize>,
}

/// One partition of one topic, as this group sees it.
pub(crate) struct Part {
    pub(crate) topic: usize,
    pub(crate) partition: usize,
    pub(crate) destination: Arc<Destination>,
    pub(crate) progress: Progress,
    /// The committed offset that was last reported to an observer.
    pub(crate) reported: i64,
    /// Counts up with each assignment: a settlement of an older one is too late.
    pub(crate) epoch: u64,
    pub(crate) owner: Option<Owner>,
    /// The owner could not take more of it when it last looked: a new record is no reason to wake it.
    pub(crate) quiet: bool,
}

pub(crate) struct Owner {
    pub(crate) member: u64,
    pub(crate) lease: Lease,
    lost: LeaseOwner,
}

pub(crate) struct Member {
    pub(crate) id: u64,
    pub(crate) topics: Vec<usize>,
    pub(crate) demand: Demand,
    /// The parts it owns, in the order in which it looks at them.
    pub(crate) assigned: Vec<usize>,
    /// Its own dense number for each part it ever owned.
    indexes: HashMap<usize, u32>,
    /// What changed in its assignment and was not told yet.
    pub(crate) changes: Vec<Change>,
    /// Commits moved since the last report.
    pub(crate) dirty: bool,
    /// It has room and waits for messages.
    pub(crate) hungry: bool,
    /// Something happened since it last looked.
    pub(crate) signal: bool,
    pub(crate) waker: Option<Waker>,
}

/// A change of what a member owns.
#[derive(Debug)]
pub(crate) enum Change {
    Assigned(Place),
    /// With the number of messages that were out.
    Revoked(Place, usize),
}

/// A partition as its owner names it.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) index: PartitionIndex,
    pub(crate) destination: Arc<Destination>,
    pub(crate) partition: i32,
}

impl Member {
    pub(crate) fn new(id: u64, topics: Vec<usize>, demand: Demand) -> Self {
        Member {
            id,
            topics,
            demand,
            assigned: Vec::new(),
            indexes: HashMap::new(),
            changes: Vec::new(),
            dirty: false,
            hungry: false,
            signal: false,
            waker: None,
        }
    }

    pub(crate) fn notify(&mut self, effects: &mut Effects) {
        self.signal = true;
        effects.wake(self.waker.take());
    }

    pub(crate) fn index(&mut self, part: usize) -> PartitionIndex {
        let next = self.indexes.len() as u32;
        PartitionIndex(*self.indexes.entry(part).or_insert(next))
    }

    pub(crate) fn place(&mut self, at: usize, part: &Part) -> Place {
        let index = self.index(at);
        Place { index, destination: part.destination.clone(), partition: part.partition as i32 }
    }
}

impl Group {
    pub(crate) fn member(&mut self, id: u64) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.id == id)
    }

    pub(crate) fn part(&self, topic: usize, partition: usize) -> Option<&Part> {
        self.first_part.get(&topic).and_then(|first| self.parts.get(first + partition))
    }

    /// There are new messages in this part.
    pub(crate) fn feed(&mut self, part: usize, effects: &mut Effects) {
        let Some(Part { owner: Some(owner), quiet: false, .. }) = self.parts.get(part) else { return };
        let id = owner.member;
        if let Some(member) = self.member(id)
            && member.hungry
        {
            member.hungry = false;
            member.notify(effects);
        }
    }

    /// Takes the member out; what it owned goes to the others.
    pub(crate) fn leave(&mut self, id: u64, effects: &mut Effects) {
        self.members.retain(|member| member.id != id);
        self.rebalance(effects);
    }

    /// Shares out the partitions of each topic evenly among the members that subscribed to it. Who has a partition
    /// keeps it where that is fair.
    pub(crate) fn rebalance(&mut self, effects: &mut Effects) {
        let mut load: HashMap<u64, usize> = self.members.iter().map(|member| (member.id, 0)).collect();
        let most = self.parts.len().div_ceil(self.members.len().max(1));
        let mut topics: Vec<_> = self.first_part.iter().map(|(topic, first)| (*first, *topic)).collect();
        topics.sort_unstable();
        for (first, topic) in topics {
            let count = self.parts[first..].iter().take_while(|part| part.topic == topic).count();
            let members: Vec<u64> =
                self.members.iter().filter(|m| m.topics.contains(&topic)).map(|m| m.id).collect();
            let owners = share_out(&self.parts[first..first + count], &members, &mut load, most);
            for (part, owner) in (first..).zip(owners) {
                self.assign(part, owner, effects);
            }
        }
    }

    fn assign(&mut self, at: usize, owner: Option<u64>, effects: &mut Effects) {
        let part = &mut self.parts[at];
        if part.owner.as_ref().map(|owner| owner.member) == owner {
            return;
        }
        part.epoch += 1;
        part.quiet = false;
        let out = part.progress.restart();
        let (destination, partition) = (part.destination.clone(), part.partition as i32);
        let place = |index| Place { index, destination: destination.clone(), partition };
        if let Some(old) = part.owner.take() {
            effects.lose(old.lost);
            if let Some(member) = self.members.iter_mut().find(|member| member.id == old.member) {
                let index = member.index(at);
                member.assigned.retain(|part| *part != at);
                member.changes.push(Change::Revoked(place(index), out));
                member.notify(effects);
            }
        }
        if let Some(member) = self.members.iter_mut().find(|member| Some(member.id) == owner) {
            let (lost, lease) = Lease::new(Some(member.demand.clone()));
            self.parts[at].owner = Some(Owner { member: member.id, lease, lost });
            let index = member.index(at);
            member.assigned.push(at);
            member.changes.push(Change::Assigned(place(index)));
            member.notify(effects);
        }
    }
}

/// An owner for each part of one topic. `load` is how many partitions of all topics each member has, `most` the fair
/// share of them all: topics with few partitions must not all stay with whoever was there first.
fn share_out(
    parts: &[Part],
    members: &[u64],
    load: &mut HashMap<u64, usize>,
    most: usize,
) -> Vec<Option<u64>> {
    let total = |load: &HashMap<u64, usize>, id: &u64| load.get(id).copied().unwrap_or(0);
    if members.is_empty() {
        return vec![None; parts.len()];
    }
    let fair = parts.len() / members.len();
    let mut extra = parts.len() % members.len();
    let mut held: HashMap<u64, usize> = members.iter().map(|id| (*id, 0)).collect();
    let mut owners: Vec<Option<u64>> = Vec::with_capacity(parts.len());
    for part in parts {
        let kept = part.owner.as_ref().map(|owner| owner.member).filter(|id| match held.get_mut(id) {
            Some(n) if *n < fair => {
                *n += 1;
                true
            }
            Some(n) if *n == fair && extra > 0 && total(load, id) + *n < most => {
                (*n, extra) = (*n + 1, extra - 1);
                true
            }
            _ => false,
        });
        owners.push(kept);
    }
    for owner in &mut owners {
        let least = || members.iter().min_by_key(|id| (held.get(*id).copied(), total(load, id))).copied();
        if owner.is_none()
            && let Some(id) = least()
        {
            held.entry(id).and_modify(|n| *n += 1);
            *owner = Some(id);
        }
    }
    for id in owners.iter().flatten() {
        *load.entry(*id).or_default() += 1;
    }
    owners
}
