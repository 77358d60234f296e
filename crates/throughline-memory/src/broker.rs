//! The broker: its topics, and what it does with a send. No clock and no runtime in here.

use crate::{
    effects::{Effects, Waiters},
    fault::{At, Faults, Strike},
    group::Group,
    log::{Log, Record},
    partitioner::partition_of,
};
use std::{
    collections::HashMap,
    sync::Arc,
    task::{Poll, Waker},
    time::SystemTime,
};
use throughline_core::{Destination, Error, ErrorKind, Message, Receipt};

/// The value of `messaging.system`.
const SYSTEM: &str = "throughline_memory";
/// How many done messages may lie at the front of a log before they are dropped, unless somebody needs the room.
const SLACK: i64 = 64;

/// Everything, behind one lock.
pub(crate) struct Broker {
    pub(crate) settings: Settings,
    pub(crate) topics: Vec<Topic>,
    topic_ids: HashMap<String, usize>,
    pub(crate) groups: Vec<Group>,
    pub(crate) group_ids: HashMap<String, usize>,
    tickets: HashMap<u64, Ticket>,
    /// Sends that a fault holds.
    held: Vec<(u64, usize, Message)>,
    /// Sinks that wait until no send waits.
    pub(crate) room: Waiters,
    /// Those who wait for a committed offset.
    pub(crate) watchers: Waiters,
    pub(crate) faults: Faults,
    pub(crate) counters: Counters,
    last_id: u64,
}

pub(crate) struct Settings {
    pub(crate) capacity: usize,
    pub(crate) retain: bool,
    pub(crate) auto_create: Option<u32>,
}

pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) logs: Vec<Log>,
    /// Counts the messages without key and partition.
    turn: usize,
    /// The groups that subscribed, each with its first part of this topic.
    pub(crate) groups: Vec<(usize, usize)>,
}

/// A send that was not answered at once.
struct Ticket {
    topic: usize,
    answer: Option<Receipt>,
    waker: Option<Waker>,
}

/// How a send begins.
#[derive(Debug)]
pub(crate) enum Sent {
    Done(Receipt),
    /// It waits, under this number.
    Waits(u64),
    /// A fault says to panic, where the lock is not held.
    Panics,
}

/// What happened on a broker since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Messages appended to a log.
    pub published: u64,
    /// Deliveries, the repeated ones included.
    pub delivered: u64,
    /// Deliveries of a message that was given back before, in the same assignment.
    pub redelivered: u64,
    /// Settled as done.
    pub acked: u64,
    /// Settled as to be delivered again.
    pub nacked: u64,
    /// Settled as never to be delivered again.
    pub rejected: u64,
    /// Given back by dropping the settler.
    pub dropped: u64,
    /// Answers, or drops, that came after the lease was lost and had no effect.
    pub late: u64,
}

impl Broker {
    pub(crate) fn new() -> Self {
        Broker {
            settings: Settings { capacity: 1 << 20, retain: false, auto_create: None },
            topics: Vec::new(),
            topic_ids: HashMap::new(),
            groups: Vec::new(),
            group_ids: HashMap::new(),
            tickets: HashMap::new(),
            held: Vec::new(),
            room: Waiters::default(),
            watchers: Waiters::default(),
            faults: Faults::default(),
            counters: Counters::default(),
            last_id: 0,
        }
    }

    pub(crate) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    pub(crate) fn create_topic(&mut self, name: &str, partitions: u32) -> Result<usize, Error> {
        if partitions == 0 {
            return Err(Error::new(ErrorKind::Config, name, "a topic needs at least one partition"));
        }
        if let Some(id) = self.topic_ids.get(name) {
            let has = self.topics[*id].logs.len();
            if has == partitions as usize {
                return Ok(*id);
            }
            let remedy = format!("it exists with {has} partitions; ask for as many, or take another name");
            return Err(Error::new(ErrorKind::Config, name, remedy));
        }
        let logs = std::iter::repeat_with(Log::default).take(partitions as usize).collect();
        self.topics.push(Topic { name: name.to_owned(), logs, turn: 0, groups: Vec::new() });
        self.topic_ids.insert(name.to_owned(), self.topics.len() - 1);
        Ok(self.topics.len() - 1)
    }

    /// The topic, if it exists.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        self.topic_ids.get(name).copied()
    }

    /// The topic, made now if that is the setting.
    pub(crate) fn topic(&mut self, name: &str) -> Result<usize, Error> {
        match (self.find(name), self.settings.auto_create) {
            (Some(id), _) => Ok(id),
            (None, Some(partitions)) => self.create_topic(name, partitions),
            (None, None) => {
                let remedy = format!(
                    "make it with create_topic({name:?}, partitions), or let every topic be made with auto_create(partitions)"
                );
                Err(Error::new(ErrorKind::NotFound, name, remedy))
            }
        }
    }

    /// Publishes, or lets the send wait.
    pub(crate) fn send(
        &mut self,
        topic: &str,
        message: Message,
        now: SystemTime,
        fx: &mut Effects,
    ) -> Result<Sent, Error> {
        let id = self.topic(topic)?;
        match self.faults.strike(At::Send, std::iter::once(topic)) {
            Some(Strike::Error(error)) => return Err(error),
            Some(Strike::Panic) => return Ok(Sent::Panics),
            Some(Strike::Hold) => {
                // Wrong is wrong, held or not: the answer must not come later.
                self.explicit_partition(id, &message)?;
                let ticket = self.ticket(id);
                self.held.push((ticket, id, message));
                return Ok(Sent::Waits(ticket));
            }
            None => {}
        }
        let partition = self.choose(id, &message)?;
        let record = Record::new(&message, now);
        if self.is_full(id, partition) {
            let ticket = self.ticket(id);
            self.topics[id].logs[partition].wait(ticket, record);
            return Ok(Sent::Waits(ticket));
        }
        let offset = self.topics[id].logs[partition].push(record);
        self.published(id, partition, fx);
        Ok(Sent::Done(Receipt::at(partition as i32, offset)))
    }

    /// Looks for the answer to a send that waits.
    pub(crate) fn poll_send(&mut self, ticket: u64, waker: &Waker) -> Poll<Receipt> {
        let Some(entry) = self.tickets.get_mut(&ticket) else { return Poll::Pending };
        match entry.answer.take() {
            Some(receipt) => {
                self.tickets.remove(&ticket);
                Poll::Ready(receipt)
            }
            None => {
                entry.waker = Some(waker.clone());
                Poll::Pending
            }
        }
    }

    /// Gives up a send that waits: unless it was answered already, it is never published.
    pub(crate) fn cancel_send(&mut self, ticket: u64, fx: &mut Effects) {
        if let Some(entry) = self.tickets.remove(&ticket) {
            self.held.retain(|(n, _, _)| *n != ticket);
            self.topics[entry.topic].logs.iter_mut().for_each(|log| log.cancel(ticket));
            self.room.wake(fx);
        }
    }

    /// Whether a send to this topic waits for room in a log.
    pub(crate) fn is_crowded(&self, topic: usize) -> bool {
        self.topics[topic].logs.iter().any(Log::is_awaited)
    }

    /// Whether any send to this topic was not answered.
    pub(crate) fn owes_an_answer(&self, topic: usize) -> bool {
        self.tickets.values().any(|ticket| ticket.topic == topic && ticket.answer.is_none())
    }

    /// Lets those sends go on that a fault holds, in the order of their calls.
    pub(crate) fn release(&mut self, now: SystemTime, fx: &mut Effects) {
        for (ticket, topic, message) in std::mem::take(&mut self.held) {
            // Its partition was looked at when it came.
            let Ok(partition) = self.choose(topic, &message) else { continue };
            self.topics[topic].logs[partition].wait(ticket, Record::new(&message, now));
            self.admit(topic, partition, fx);
        }
    }

    /// Drops what every group is done with from the front of a log, and lets sends that waited have the room.
    pub(crate) fn make_room(&mut self, topic: usize, partition: usize, fx: &mut Effects) {
        let log = &self.topics[topic].logs[partition];
        let done = self.done_below(topic, partition);
        if done >= log.start() + SLACK || (log.is_awaited() && done > log.start()) {
            self.topics[topic].logs[partition].trim(done);
            self.admit(topic, partition, fx);
        }
    }

    /// Everything below this offset is done for every group, and need not be kept.
    pub(crate) fn done_below(&self, topic: usize, partition: usize) -> i64 {
        let start = self.topics[topic].logs[partition].start();
        if self.settings.retain {
            return start;
        }
        let committed = self.topics[topic]
            .groups
            .iter()
            .map(|(group, first)| self.groups[*group].parts[first + partition].progress.committed());
        committed.min().unwrap_or(start)
    }

    /// What a sink says of itself.
    pub(crate) fn destination(topic: &str) -> Arc<Destination> {
        Arc::new(Destination::new(SYSTEM, topic.to_owned()))
    }

    /// What a member of a group says of where its messages come from.
    pub(crate) fn destination_of(topic: &str, group: &str) -> Arc<Destination> {
        let mut destination = Destination::new(SYSTEM, topic.to_owned());
        destination.group = Some(group.to_owned().into());
        Arc::new(destination)
    }

    fn is_full(&mut self, topic: usize, partition: usize) -> bool {
        let log = &self.topics[topic].logs[partition];
        if !log.is_full(self.settings.capacity) {
            return false;
        }
        if !log.is_awaited() {
            let done = self.done_below(topic, partition);
            self.topics[topic].logs[partition].trim(done);
        }
        self.topics[topic].logs[partition].is_full(self.settings.capacity)
    }

    fn admit(&mut self, topic: usize, partition: usize, fx: &mut Effects) {
        while let Some((ticket, offset)) = self.topics[topic].logs[partition].admit(self.settings.capacity) {
            self.published(topic, partition, fx);
            if let Some(entry) = self.tickets.get_mut(&ticket) {
                entry.answer = Some(Receipt::at(partition as i32, offset));
                fx.wake(entry.waker.take());
            }
            self.room.wake(fx);
        }
    }

    fn published(&mut self, topic: usize, partition: usize, fx: &mut Effects) {
        self.counters.published += 1;
        for (group, first) in &self.topics[topic].groups {
            self.groups[*group].feed(first + partition, fx);
        }
    }

    fn ticket(&mut self, topic: usize) -> u64 {
        let id = self.next_id();
        self.tickets.insert(id, Ticket { topic, answer: None, waker: None });
        id
    }

    fn choose(&mut self, topic: usize, message: &Message) -> Result<usize, Error> {
        let explicit = self.explicit_partition(topic, message)?;
        let topic = &mut self.topics[topic];
        Ok(match (explicit, message.key()) {
            (Some(partition), _) => partition,
            (None, Some(key)) => partition_of(key, topic.logs.len()),
            (None, None) => {
                topic.turn = (topic.turn + 1) % topic.logs.len();
                (topic.turn + topic.logs.len() - 1) % topic.logs.len()
            }
        })
    }

    fn explicit_partition(&self, topic: usize, message: &Message) -> Result<Option<usize>, Error> {
        let Some(partition) = message.partition() else { return Ok(None) };
        let topic = &self.topics[topic];
        let found = usize::try_from(partition).ok().filter(|partition| *partition < topic.logs.len());
        found.map(Some).ok_or_else(|| {
            let resource = format!("{}/{partition}", topic.name);
            let remedy = format!("the topic has the partitions 0 to {}", topic.logs.len() - 1);
            Error::new(ErrorKind::NotFound, resource, remedy)
        })
    }
}
