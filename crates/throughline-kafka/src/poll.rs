//! The poll thread: the only place that touches the consumer.
//!
//! It polls with 100 ms of patience while the worker wants records. Without demand it holds at most one record; after
//! half a second it pauses all partitions and goes on polling, so that the group never misses us. A pause throws away
//! what was prefetched, so a passing lack of room must not cause one. A partition whose share of the worker's buffer is
//! full, or whose window of open offsets is, is paused alone.

use crate::{
    KafkaSettler,
    commit::{self, Outstanding},
    connect::connect,
    context::Context,
    errors,
    exchange::Exchange,
    headers::{self, HeadersUnreadable},
    offsets::Refused,
    partitions::Partition,
    subscription::Plan,
};
use rdkafka::{
    Message as _, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    types::RDKafkaErrorCode as Code,
};
use std::{
    collections::{HashMap, VecDeque},
    pin::pin,
    sync::{Arc, atomic::AtomicUsize, mpsc::Sender},
    task::{self, Wake, Waker},
    thread::Thread,
    time::{Duration, Instant},
};
use throughline_core::{
    Delivery, Demand, Destination, Error, ErrorKind, Event, Lease, LeaseOwner, Message, Observer,
    PartitionIndex,
};
use tokio::sync::oneshot;

/// The most that goes to the worker at once, in messages and bytes. Two threads meet for each batch and two more are
/// woken: at 64 that was a third of all CPU time of a worker that catches up.
const BATCH: usize = 512;
const BATCH_BYTES: usize = 1024 * 1024;

/// How long a poll waits for a record.
const PATIENCE: Duration = Duration::from_millis(100);
/// The same while a partition is paused, which must be resumed soon after it has room again.
const PATIENCE_PAUSED: Duration = Duration::from_millis(10);
/// How long a lack of demand lasts before everything is paused.
const PAUSE_AFTER: Duration = Duration::from_millis(500);
/// How long a partition is blocked before it alone is paused. A fetch brings a long run of one partition, which fills
/// its share again and again: a pause each time would throw away what was prefetched.
const BLOCK_AFTER: Duration = Duration::from_millis(100);
/// How long it is waited for at once.
const BLOCK_LOOK: Duration = Duration::from_millis(5);
/// How often events are looked for without demand.
const IDLE: Duration = Duration::from_millis(50);

/// One partition, as this thread sees it.
pub(crate) struct Slot {
    pub(crate) partition: Arc<Partition>,
    pub(crate) lease: Option<(LeaseOwner, Lease)>,
    pub(crate) assigned: bool,
    /// On its way to another member: nothing more is handed out.
    pub(crate) revoking: bool,
    /// Paused alone, since it is blocked or its window is full.
    pub(crate) paused: bool,
    /// Since when its record waits at the head of everything, because it is blocked and not yet paused.
    pub(crate) waits_since: Option<Instant>,
    /// What was asked to be committed, and what was confirmed, in this assignment. Below 0: nothing yet.
    pub(crate) requested: i64,
    pub(crate) committed: i64,
}

/// A record that was read and not handed out yet: it is in no tracker, so that it comes again if it is dropped.
pub(crate) struct Held {
    pub(crate) slot: usize,
    message: Message,
}

pub(crate) struct Poller {
    pub(crate) consumer: Arc<BaseConsumer<Context>>,
    /// Asks the commit thread.
    pub(crate) committer: Sender<TopicPartitionList>,
    pub(crate) plan: Plan,
    pub(crate) demand: Demand,
    pub(crate) observer: Observer,
    pub(crate) exchange: Arc<Exchange>,
    pub(crate) slots: Vec<Slot>,
    by_name: HashMap<String, (Arc<Destination>, HashMap<i32, usize>)>,
    /// The slot of the last record: most are followed by one of the same partition.
    last: usize,
    pub(crate) held: VecDeque<Held>,
    pub(crate) all_paused: bool,
    idle_since: Option<Instant>,
    pub(crate) progress: Arc<AtomicUsize>,
    pub(crate) outstanding: Option<Outstanding>,
    pub(crate) last_commit: Instant,
    reconnecting: bool,
    failed: bool,
}

/// The thread's life.
pub(crate) fn run(
    plan: Plan,
    demand: Demand,
    observer: Observer,
    exchange: &Arc<Exchange>,
    started: oneshot::Sender<Result<(), Error>>,
) {
    // Whatever happens in here, the source is told that nothing more will come.
    struct End<'a>(&'a Exchange);
    impl Drop for End<'_> {
        fn drop(&mut self) {
            self.0.end(None);
        }
    }
    let _end = End(exchange);
    exchange.enter();
    let connected = connect(&plan, exchange).map(Arc::new);
    let (consumer, committer) = match connected.and_then(|consumer| Ok((commit::start(&consumer)?, consumer)))
    {
        Ok((committer, consumer)) => (consumer, committer),
        Err(error) => {
            let _ = started.send(Err(error));
            return;
        }
    };
    if started.send(Ok(())).is_err() {
        return;
    }
    let poller = Poller {
        consumer,
        committer,
        plan,
        demand,
        observer,
        exchange: exchange.clone(),
        slots: Vec::new(),
        by_name: HashMap::new(),
        last: 0,
        held: VecDeque::new(),
        all_paused: false,
        idle_since: None,
        progress: Arc::default(),
        outstanding: None,
        last_commit: Instant::now(),
        reconnecting: false,
        failed: false,
    };
    poller.run();
}

impl Poller {
    fn run(mut self) {
        loop {
            self.serve();
            if let Some(deadline) = self.exchange.closing() {
                return self.leave(deadline);
            }
            self.commit_if_due();
            self.unblock();
            if self.ready() {
                self.hand_out();
            } else {
                self.idle();
            }
        }
    }

    fn ready(&self) -> bool {
        !self.failed && self.demand.free() > 0 && self.exchange.wanted()
    }

    /// Gives the worker what there is, or waits for it.
    fn hand_out(&mut self) {
        self.idle_since = None;
        self.resume_all();
        let room = self.demand.free().min(BATCH);
        let mut batch = Vec::new();
        let mut bytes = 0;
        while batch.len() < room && bytes < BATCH_BYTES {
            match self.next_held() {
                Some(held) => {
                    let (slot, size) = (held.slot, held.message.size());
                    match self.deliver(held) {
                        Some(delivery) => {
                            bytes += size;
                            batch.push(delivery);
                        }
                        None if self.slots[slot].waits_since.is_some() => break,
                        None => {}
                    }
                }
                None => {
                    if self.consumer.context().pending() || !self.poll(Duration::ZERO) {
                        break;
                    }
                }
            }
        }
        if let Some(first) = batch.first() {
            let first: &Delivery<KafkaSettler> = first;
            if let Some(origin) = first.message.origin() {
                self.observer
                    .observe(Event::Received { destination: &origin.destination, count: batch.len() });
            }
            self.exchange.answer(batch);
        } else if self.slots.iter().any(|slot| slot.waits_since.is_some()) {
            self.wait_for_change(BLOCK_LOOK);
        } else if !self.consumer.context().pending() {
            let paused = self.slots.iter().any(|slot| slot.paused);
            self.poll(if paused { PATIENCE_PAUSED } else { PATIENCE });
        }
    }

    /// Nobody wants anything: keeps the membership alive and waits for a change.
    fn idle(&mut self) {
        let since = *self.idle_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= PAUSE_AFTER {
            self.pause_all();
        }
        if (self.held.is_empty() || self.all_paused) && self.poll(Duration::ZERO) {
            return;
        }
        self.wait_for_change(IDLE);
    }

    /// Sleeps until the demand changes, the source asks or is closed, or this long.
    fn wait_for_change(&self, at_most: Duration) {
        let mut changed = pin!(self.demand.changed());
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let told = changed.as_mut().poll(&mut task::Context::from_waker(&waker)).is_ready();
        let waits = self.slots.iter().any(|slot| {
            slot.waits_since.is_some() && self.demand.blocked(slot.partition.index) && !slot.paused
        });
        // Looked at once more after the waker is in place.
        if told || (self.ready() && !waits) || self.exchange.closing().is_some() {
            return;
        }
        std::thread::park_timeout(at_most);
    }

    /// The oldest record whose partition may go on.
    fn next_held(&mut self) -> Option<Held> {
        let slots = &self.slots;
        let at = self.held.iter().position(|held| !slots[held.slot].paused)?;
        self.held.remove(at)
    }

    /// Hands one record out, or keeps it and pauses its partition.
    fn deliver(&mut self, held: Held) -> Option<Delivery<KafkaSettler>> {
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
        if slot.requested < 0 {
            (slot.requested, slot.committed) = (offset, offset);
        }
        let lease = slot.lease.as_ref().map_or_else(Lease::forever, |(_, lease)| lease.clone());
        let settler = KafkaSettler::new(slot.partition.clone(), ticket);
        Some(Delivery { message: held.message, settler, lease, partition: index })
    }

    /// Polls once: a record goes to `held`, everything else to where it belongs. Says whether a record came.
    pub(crate) fn poll(&mut self, patience: Duration) -> bool {
        let record = match self.consumer.poll(patience) {
            None => return false,
            Some(Ok(record)) => record,
            Some(Err(error)) => {
                self.on_error(error);
                return false;
            }
        };
        let (topic, partition) = (record.topic(), record.partition());
        let is_it = |slot: &Slot| slot.partition.number == partition && slot.partition.topic() == topic;
        let at = match self.slots.get(self.last).filter(|slot| is_it(slot)) {
            Some(_) => self.last,
            None => match self.by_name.get(topic).and_then(|(_, numbers)| numbers.get(&partition)) {
                Some(at) => *at,
                None => return true,
            },
        };
        let slot = &self.slots[at];
        if !slot.assigned || slot.revoking {
            return true;
        }
        let message = headers::message(&record, &slot.partition.destination);
        if message.extensions().get::<HeadersUnreadable>().is_some() {
            self.observer.observe(Event::HeadersUnreadable {
                destination: &slot.partition.destination,
                partition,
                offset: record.offset(),
            });
        }
        self.last = at;
        self.held.push_back(Held { slot: at, message });
        if std::mem::take(&mut self.reconnecting) {
            self.observer.observe(Event::Reconnected);
        }
        true
    }

    fn on_error(&mut self, error: KafkaError) {
        let fatal = matches!(error, KafkaError::MessageConsumptionFatal(_));
        let Some(code) = error.rdkafka_error_code() else { return };
        if code == Code::PartitionEOF {
            return;
        }
        let code = match (code, self.consumer.client().fatal_error()) {
            (Code::Fatal, Some((code, _))) => code,
            _ => code,
        };
        let (kind, remedy) = errors::meaning(code);
        // The client names the topic only in its own words.
        let resource =
            if kind == ErrorKind::NotFound { self.plan.topics.join(",") } else { self.plan.group.clone() };
        let reason = self.consumer.context().reason().filter(|(c, _)| *c == code).map(|(_, reason)| reason);
        let typed =
            Error::new(kind, resource, remedy).with_source(reason.unwrap_or_else(|| error.to_string()));
        if fatal || errors::ends_source(code) {
            self.fail(typed);
        } else if kind == ErrorKind::Unreachable {
            if !std::mem::replace(&mut self.reconnecting, true) {
                self.observer.observe(Event::Reconnecting { error: &typed });
            }
        } else {
            self.observer.observe(Event::Reconnecting { error: &typed });
        }
    }

    /// Ends the source; the membership is kept until it is closed.
    pub(crate) fn fail(&mut self, error: Error) {
        self.failed = true;
        self.exchange.fail(error);
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
            slots.push(Slot {
                partition: Arc::new(partition),
                lease: None,
                assigned: false,
                revoking: false,
                paused: false,
                waits_since: None,
                requested: -1,
                committed: -1,
            });
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

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
