//! The poll thread: the only place that touches the consumer.
//!
//! It polls with 100 ms of patience while the worker wants records. Without demand it holds at most one record; after
//! half a second it pauses all partitions and goes on polling, so that the group never misses us. A pause throws away
//! what was prefetched, so a passing lack of room must not cause one. A partition whose share of the worker's buffer is
//! full, or whose window of open offsets is, is paused alone.

use crate::{
    KafkaSettler,
    consume::{
        asking::{self, Ask},
        commit::Outstanding,
        connect::connect,
        context::{Change, Context},
        exchange::Exchange,
        placing::Search,
        slots::{Held, Slot},
        subscription::Plan,
        trouble::LOOK_FOR_TOPICS,
    },
    headers::{Copier, HeadersUnreadable},
};
use rdkafka::{
    Message as _,
    consumer::{BaseConsumer, Consumer},
};
use std::{
    collections::{HashMap, VecDeque},
    pin::pin,
    sync::{Arc, atomic::AtomicUsize, mpsc::Sender},
    task::{self, Wake, Waker},
    thread::Thread,
    time::{Duration, Instant},
};
use throughline_core::{ByteString, Delivery, Demand, Destination, Error, Event, Observer};
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
/// How long a blocked partition is waited for at once.
const BLOCK_LOOK: Duration = Duration::from_millis(5);
/// For how long a group may say nothing to a new member.
const SILENCE: Duration = Duration::from_secs(5);
/// How often events are looked for without demand.
const IDLE: Duration = Duration::from_millis(50);

pub(crate) struct Poller {
    pub(crate) consumer: Arc<BaseConsumer<Context>>,
    /// To the thread that asks the broker.
    pub(crate) asking: Sender<Ask>,
    pub(crate) plan: Plan,
    pub(crate) demand: Demand,
    pub(crate) observer: Observer,
    pub(crate) exchange: Arc<Exchange>,
    pub(crate) slots: Vec<Slot>,
    pub(crate) by_name: HashMap<String, (Arc<Destination>, HashMap<i32, usize>)>,
    /// The slot of the last record: most are followed by one of the same partition.
    last: usize,
    copier: Copier,
    pub(crate) held: VecDeque<Held>,
    /// How many were handed out the last time.
    handed_out: usize,
    pub(crate) all_paused: bool,
    idle_since: Option<Instant>,
    pub(crate) progress: Arc<AtomicUsize>,
    pub(crate) outstanding: Option<Outstanding>,
    pub(crate) last_commit: Instant,
    /// Changes of the assignment that wait for the one before.
    pub(crate) changes: VecDeque<Change>,
    /// Places that are looked up; a partition is not read before its own is known.
    pub(crate) search: Option<Search>,
    /// The client was refused to read on somewhere.
    pub(crate) refused: bool,
    /// Topics that do not exist, as last told, and when that is asked next.
    pub(crate) missing: Vec<ByteString>,
    pub(crate) look_for_topics: Option<Instant>,
    pub(crate) reconnecting: bool,
    pub(crate) failed: bool,
    /// The broker takes no commit of ours any more.
    pub(crate) commits_refused: bool,
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
    let (consumer, asking) = match connected.and_then(|consumer| Ok((asking::start(&consumer)?, consumer))) {
        Ok((asking, consumer)) => (consumer, asking),
        Err(error) => {
            let _ = started.send(Err(error));
            return;
        }
    };
    let mut poller = Poller {
        consumer,
        asking,
        plan,
        demand,
        observer,
        exchange: exchange.clone(),
        slots: Vec::new(),
        by_name: HashMap::new(),
        last: 0,
        copier: Copier::default(),
        held: VecDeque::new(),
        handed_out: 0,
        all_paused: false,
        idle_since: None,
        progress: Arc::default(),
        outstanding: None,
        last_commit: Instant::now(),
        changes: VecDeque::new(),
        search: None,
        refused: false,
        missing: Vec::new(),
        look_for_topics: Some(Instant::now() + LOOK_FOR_TOPICS),
        reconnecting: false,
        failed: false,
        commits_refused: false,
    };
    poller.wait_for_place();
    if started.send(exchange.failure().map_or(Ok(()), Err)).is_ok() && !poller.failed {
        poller.run();
    }
}

impl Poller {
    /// A member that the group may refuse has started once the group has taken it: a static one, whose place the newer
    /// protocol keeps until the session of the one before is over, must not look ready, and one that speaks that protocol
    /// is told nothing by the client where the group may not change to it. The group is silent, too, if it has no
    /// partition to give.
    fn wait_for_place(&mut self) {
        let newer = self.plan.config.get("partition.assignment.strategy").is_none();
        if !newer && self.plan.config.get("group.instance.id").is_none() {
            return;
        }
        let deadline = Instant::now() + SILENCE.min(self.plan.connect_timeout);
        let waits = |poller: &Self| {
            let told = poller.failed || poller.consumer.context().has_change();
            !told && poller.exchange.closing().is_none()
        };
        while waits(self) && Instant::now() < deadline {
            self.poll(PATIENCE);
        }
        if newer && waits(self) {
            self.refuse_classic_group();
        }
    }

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
        let mut batch = Vec::with_capacity(self.handed_out.min(room));
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
        self.handed_out = batch.len();
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
        let slot = &mut self.slots[at];
        if !slot.assigned || slot.revoking {
            return true;
        }
        let message = self.copier.message(&record, slot.destinations.take());
        if message.extensions().get::<HeadersUnreadable>().is_some() {
            self.observer.observe(Event::HeadersUnreadable {
                destination: &slot.partition.destination,
                partition,
                offset: record.offset(),
            });
        }
        let next = record.offset() + 1;
        self.last = at;
        self.held.push_back(Held { slot: at, message });
        (self.slots[at].next, self.slots[at].end) = (next, None);
        self.reconnected();
        true
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
