//! What the broker does for the members of its groups: join, hand over, settle, leave.

use crate::{
    broker::Broker,
    config::Start,
    effects::Effects,
    fault::{At, Strike},
    group::{Change, Group, Member, Part, Place},
    log::Record,
    progress::Progress,
};
use std::{sync::Arc, time::Instant};
use throughline_core::{Demand, Destination, Error, Lease, PartitionIndex, Settlement};

/// A batch ends when it has this many bytes of payload, so that it cannot pass the worker's budget by far.
const BATCH_BYTES: usize = 1024 * 1024;

/// A member of a group: where it is in the broker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seat {
    pub(crate) group: usize,
    pub(crate) member: u64,
}

/// What was handed over: all that its settlement needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handed {
    pub(crate) group: usize,
    pub(crate) part: usize,
    pub(crate) epoch: u64,
    pub(crate) offset: i64,
}

/// One delivery, as the broker gives it to a source.
pub(crate) struct Given<'a> {
    pub(crate) handed: Handed,
    pub(crate) destination: &'a Arc<Destination>,
    pub(crate) partition: i32,
    pub(crate) index: PartitionIndex,
    pub(crate) lease: &'a Lease,
    pub(crate) delivery_count: u32,
    pub(crate) record: &'a Record,
}

/// A committed offset, and how far the group is behind the end.
#[derive(Debug)]
pub(crate) struct Commit {
    pub(crate) place: Place,
    pub(crate) offset: i64,
    pub(crate) lag: i64,
}

/// What a look of a source brought.
#[derive(Debug, Default)]
pub(crate) struct Look {
    /// Changes of the assignment; if there are any, nothing was handed over.
    pub(crate) changes: Vec<Change>,
    /// Commits to report, if the caller asked for them.
    pub(crate) commits: Vec<Commit>,
    /// Whether there are commits to report.
    pub(crate) dirty: bool,
    /// When to look again, if nothing else happens.
    pub(crate) due: Option<Instant>,
    /// A fault says to panic, where the lock is not held.
    pub(crate) panics: bool,
}

/// How a settlement went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Taken,
    /// The partition is not the caller's any more.
    Late,
}

impl Broker {
    /// Joins a group, which is made if it is new.
    pub(crate) fn join(
        &mut self,
        topics: &[String],
        group: &str,
        start: Start,
        demand: Demand,
        fx: &mut Effects,
    ) -> Result<Seat, Error> {
        let topic_ids = topics.iter().map(|name| self.topic(name)).collect::<Result<Vec<_>, _>>()?;
        let id = *self.group_ids.entry(group.to_owned()).or_insert_with(|| {
            self.groups.push(Group::default());
            self.groups.len() - 1
        });
        for topic_id in &topic_ids {
            self.follow(id, *topic_id, group, start);
        }
        let member = self.next_id();
        self.groups[id].members.push(Member::new(member, topic_ids, demand));
        self.groups[id].rebalance(fx);
        Ok(Seat { group: id, member })
    }

    /// Gives the group a place in this topic, if it has none.
    fn follow(&mut self, group_id: usize, topic_id: usize, group: &str, start: Start) {
        let first = self.groups[group_id].parts.len();
        if self.groups[group_id].first_part.contains_key(&topic_id) {
            return;
        }
        // What others are done with may still lie there: whether it does must not decide what this group sees.
        for partition in 0..self.topics[topic_id].logs.len() {
            let done = self.done_below(topic_id, partition);
            self.topics[topic_id].logs[partition].trim(done);
        }
        let topic = &mut self.topics[topic_id];
        self.groups[group_id].first_part.insert(topic_id, first);
        topic.groups.push((group_id, first));
        let destination = Broker::destination_of(&topic.name, group);
        let parts = &mut self.groups[group_id].parts;
        for (partition, log) in topic.logs.iter().enumerate() {
            let offset = match start {
                Start::Earliest => log.start(),
                Start::Latest => log.end(),
                Start::Offset(offset) => offset.clamp(log.start(), log.end()),
                Start::Time(time) => log.offset_at(time),
            };
            parts.push(Part {
                topic: topic_id,
                partition,
                destination: destination.clone(),
                progress: Progress::at(offset),
                reported: offset,
                epoch: 0,
                owner: None,
                quiet: false,
            });
        }
    }

    /// Looks for at most `free` messages in the member's partitions that are not `blocked`, and gives them one by one.
    pub(crate) fn look(
        &mut self,
        seat: Seat,
        now: Instant,
        free: usize,
        blocked: &[bool],
        report: bool,
        mut give: impl FnMut(Given<'_>),
    ) -> Result<Look, Error> {
        let Broker { groups, topics, faults, counters, .. } = self;
        let Group { members, parts, .. } = &mut groups[seat.group];
        let Some(member) = members.iter_mut().find(|member| member.id == seat.member) else {
            return Ok(Look::default());
        };
        member.signal = false;
        member.hungry = false;
        let names = member.topics.iter().map(|id| &*topics[*id].name);
        match faults.strike(At::Receive, names) {
            Some(Strike::Error(error)) => return Err(error),
            Some(Strike::Panic) => return Ok(Look { panics: true, ..Look::default() }),
            Some(Strike::Hold) | None => {}
        }
        let mut look = Look { changes: std::mem::take(&mut member.changes), ..Look::default() };
        if !look.changes.is_empty() {
            return Ok(look);
        }
        if report && member.dirty {
            look.commits = take_commits(member, parts, topics);
        }
        look.dirty = member.dirty;
        let (mut room, mut bytes, mut taken) = (free, BATCH_BYTES, 0);
        for turn in 0..member.assigned.len() {
            let at = member.assigned[turn];
            let index = member.index(at);
            let Part { topic, partition, destination, progress, epoch, owner, quiet, .. } = &mut parts[at];
            let Some(owner) = owner else { continue };
            *quiet = blocked.get(index.0 as usize).copied().unwrap_or(false);
            if *quiet || room == 0 || bytes == 0 {
                continue;
            }
            let log = &topics[*topic].logs[*partition];
            let (messages, size) = progress.take(log, now, room, bytes, |offset, delivery_count, record| {
                counters.redelivered += u64::from(delivery_count > 1);
                give(Given {
                    handed: Handed { group: seat.group, part: at, epoch: *epoch, offset },
                    destination,
                    partition: *partition as i32,
                    index,
                    lease: &owner.lease,
                    delivery_count,
                    record,
                });
            });
            (room, bytes, taken) = (room - messages, bytes.saturating_sub(size), taken + messages);
            *quiet = progress.is_full();
            look.due = [look.due, progress.due()].into_iter().flatten().min();
        }
        counters.delivered += taken as u64;
        if taken > 0 {
            // The next look begins with another partition.
            member.assigned.rotate_left(1);
        }
        member.hungry = taken == 0 && free > 0;
        Ok(look)
    }

    /// Takes the answer to a delivery; `None` is a settler that was dropped. `due` is when a nacked one may come again.
    pub(crate) fn settle(
        &mut self,
        handed: Handed,
        how: Option<Settlement>,
        due: Option<Instant>,
        fx: &mut Effects,
    ) -> Answer {
        let Some(part) = self.groups.get_mut(handed.group).and_then(|group| group.parts.get_mut(handed.part))
        else {
            return Answer::Late;
        };
        if part.epoch != handed.epoch {
            self.counters.late += 1;
            return Answer::Late;
        }
        match how {
            Some(Settlement::Ack) => self.counters.acked += 1,
            Some(Settlement::Reject) => self.counters.rejected += 1,
            Some(Settlement::Nack { .. }) => self.counters.nacked += 1,
            None => self.counters.dropped += 1,
        }
        let (topic, partition) = (part.topic, part.partition);
        if let Some(Settlement::Ack | Settlement::Reject) = how {
            let was_full = part.progress.is_full();
            if part.progress.done(handed.offset) {
                self.committed_moved(handed, was_full, fx);
                self.make_room(topic, partition, fx);
            }
        } else {
            let key = self.topics[topic].logs[partition].get(handed.offset).and_then(Record::key);
            part.progress.give_back(handed.offset, key, due);
            self.wake_owner(handed, |_| true, fx);
        }
        Answer::Taken
    }

    fn committed_moved(&mut self, handed: Handed, was_full: bool, fx: &mut Effects) {
        self.watchers.wake(fx);
        let first_since_report = |member: &mut Member| !std::mem::replace(&mut member.dirty, true);
        self.wake_owner(handed, |member| first_since_report(member) || was_full, fx);
        if was_full {
            self.groups[handed.group].parts[handed.part].quiet = false;
        }
    }

    fn wake_owner(&mut self, handed: Handed, asks: impl FnOnce(&mut Member) -> bool, fx: &mut Effects) {
        let Group { members, parts, .. } = &mut self.groups[handed.group];
        let Some(owner) = &parts[handed.part].owner else { return };
        if let Some(member) = members.iter_mut().find(|member| member.id == owner.member)
            && asks(member)
        {
            member.notify(fx);
        }
    }

    /// Leaves the group. Answers the commits that were not reported yet.
    pub(crate) fn leave(&mut self, seat: Seat, fx: &mut Effects) -> (Vec<Commit>, Vec<Place>) {
        let group = &mut self.groups[seat.group];
        let Some(member) = group.members.iter_mut().find(|member| member.id == seat.member) else {
            return (Vec::new(), Vec::new());
        };
        let commits = take_commits(member, &mut group.parts, &self.topics);
        let places = member.assigned.clone().into_iter().map(|at| member.place(at, &group.parts[at]));
        let places = places.collect();
        group.leave(seat.member, fx);
        (commits, places)
    }

    /// How many messages of a topic a group has not done.
    pub(crate) fn lag(&self, topic: usize, group: &str) -> i64 {
        let group = self.group_ids.get(group).map(|id| &self.groups[*id]);
        let logs = self.topics[topic].logs.iter().enumerate();
        logs.map(|(partition, log)| {
            let part = group.and_then(|group| group.part(topic, partition));
            log.end() - part.map_or(log.start(), |part| part.progress.committed())
        })
        .sum()
    }
}

fn take_commits(member: &mut Member, parts: &mut [Part], topics: &[crate::broker::Topic]) -> Vec<Commit> {
    member.dirty = false;
    let mut commits = Vec::new();
    for at in member.assigned.clone() {
        let part = &mut parts[at];
        let offset = part.progress.committed();
        if offset != part.reported {
            part.reported = offset;
            let lag = topics[part.topic].logs[part.partition].end() - offset;
            commits.push(Commit { place: member.place(at, part), offset, lag });
        }
    }
    commits
}
