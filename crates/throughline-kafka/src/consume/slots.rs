//! The partitions that the poll thread knows, and the way of a record of theirs to the worker.

use crate::{
    HeadersUnreadable, KafkaSettler,
    consume::{
        offsets::Refused, partitions::Partition, poll::Poller, stock::Stock, topic_ids::Mark,
        transactional::Transactional,
    },
};
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};
use throughline_core::{
    Delivery, Destination, Error, ErrorKind, Extensions, Lease, LeaseOwner, Message, PartitionIndex,
};

/// How long a partition is blocked before it alone is paused. A fetch brings a long run of one partition, which fills
/// its share again and again: a pause each time would throw away what was prefetched.
const BLOCK_AFTER: Duration = Duration::from_millis(100);

/// Stands for an offset that is not known.
pub(crate) const NONE: i64 = -1;

/// One partition, as the poll thread sees it.
pub(crate) struct Slot {
    pub(crate) partition: Arc<Partition>,
    pub(crate) lease: Option<(LeaseOwner, Stock<Lease>)>,
    partitions: Stock<Arc<Partition>>,
    pub(crate) destinations: Stock<Arc<Destination>>,
    /// The producer that consumes it, if that is exactly once, and what each message is given for that.
    pub(crate) by: Option<Arc<Transactional>>,
    pub(crate) extensions: Extensions,
    /// Of the topic that its offsets belong to.
    pub(crate) mark: Option<Mark>,
    pub(crate) assigned: bool,
    /// On its way to another member: nothing more is handed out.
    pub(crate) revoking: bool,
    /// Paused alone, since it is blocked or its window is full.
    pub(crate) paused: bool,
    /// Since when its record waits at the head of everything, because it is blocked and not yet paused.
    pub(crate) waits_since: Option<Instant>,
    /// What was asked to be committed, and what was confirmed or is known from before this assignment; or [`NONE`].
    pub(crate) requested: i64,
    pub(crate) committed: i64,
    /// Where the next record is expected, or [`NONE`].
    pub(crate) next: i64,
    /// Where the log ended when it was last seen to rest there, with nothing read, paused or moved since.
    pub(crate) end: Option<i64>,
}

/// A record that was read and not handed out yet: it is in no tracker, so that it comes again if it is dropped.
pub(crate) struct Held {
    pub(crate) slot: usize,
    pub(crate) message: Message,
}

impl Slot {
    fn new(partition: Partition) -> Self {
        let partition = Arc::new(partition);
        Slot {
            partitions: Stock::new(partition.clone()),
            destinations: Stock::new(partition.destination.clone()),
            partition,
            lease: None,
            by: None,
            extensions: Extensions::default(),
            mark: None,
            assigned: false,
            revoking: false,
            paused: false,
            waits_since: None,
            requested: NONE,
            committed: NONE,
            next: NONE,
            end: None,
        }
    }
}

impl Poller {
    /// The oldest record whose partition may go on.
    pub(crate) fn next_held(&mut self) -> Option<Held> {
        let slots = &self.slots;
        let at = self.held.iter().position(|held| !slots[held.slot].paused)?;
        self.held.remove(at)
    }

    /// Hands one record out, or keeps it and pauses its partition.
    pub(crate) fn deliver(&mut self, held: Held) -> Option<Delivery<KafkaSettler>> {
        let index = self.slots[held.slot].partition.index;
        if self.demand.blocked(index) {
            let since = *self.slots[held.slot].waits_since.get_or_insert_with(Instant::now);
            if since.elapsed() >= BLOCK_AFTER {
                self.block(held);
            } else {
                self.held.push_front(held);
            }
            return None;
        }
        self.slots[held.slot].waits_since = None;
        let offset = held.message.origin().and_then(|origin| origin.offset).unwrap_or_default();
        let slot = &mut self.slots[held.slot];
        let ticket = match slot.partition.deliver(offset) {
            Ok(ticket) => ticket,
            Err(Refused::Full) => {
                self.block(held);
                return None;
            }
            // Given up since it was read: its next owner reads it again.
            Err(Refused::Unassigned) => return None,
            Err(Refused::WentBack { lowest_open }) if offset <= lowest_open => {
                // The log was reset to a place from where everything open is read again.
                self.begin_again(held.slot);
                return self.deliver(held);
            }
            Err(Refused::WentBack { lowest_open }) => {
                let at = format!("{}/{}", slot.partition.topic(), slot.partition.number);
                let source = format!("offset {offset} came while {lowest_open} is open");
                let error = Error::new(ErrorKind::Broker, at, "the log was reset under the consumer");
                self.fail(error.with_source(source));
                return None;
            }
        };
        let lease = slot.lease.as_mut().map_or_else(Lease::forever, |(_, lease)| lease.take());
        let settler = KafkaSettler::new(slot.partitions.take(), ticket);
        let mut message = held.message;
        if slot.by.is_some() {
            let unreadable = message.extensions().get::<HeadersUnreadable>().copied();
            *message.extensions_mut() = slot.extensions.clone();
            if let Some(unreadable) = unreadable {
                message.extensions_mut().insert(unreadable);
            }
        }
        Some(Delivery { message, settler, lease, partition: index })
    }

    /// The slot of a partition, made at its first assignment.
    pub(crate) fn slot(&mut self, topic: &str, number: i32) -> usize {
        let (kafka, group) = (&self.plan.kafka, &self.plan.group);
        let fresh = || (kafka.destination(topic, Some(group)), HashMap::new());
        let (destination, numbers) = self.by_name.entry(topic.to_owned()).or_insert_with(fresh);
        let slots = &mut self.slots;
        *numbers.entry(number).or_insert_with(|| {
            let index = PartitionIndex(u32::try_from(slots.len()).unwrap_or(u32::MAX));
            let partition = Partition::new(destination.clone(), number, index, self.progress.clone());
            slots.push(Slot::new(partition));
            slots.len() - 1
        })
    }

    /// The slot of a partition that was assigned before.
    pub(crate) fn find(&self, topic: &str, number: i32) -> Option<usize> {
        self.by_name.get(topic).and_then(|(_, numbers)| numbers.get(&number)).copied()
    }

    /// Forgets what was read and not handed out of these slots: it is read again by who owns them next.
    pub(crate) fn drop_held(&mut self, of: &[usize]) {
        self.held.retain(|held| !of.contains(&held.slot));
        for &at in of {
            self.slots[at].waits_since = None;
        }
    }
}
