//! The poll thread: the only place that touches the consumer.
//!
//! It polls with 100 ms of patience while the worker wants records. Without demand it holds at most one record; after
//! half a second it pauses all partitions and goes on polling, so that the group never misses us. A pause throws away
//! what was prefetched, so a passing lack of room must not cause one. A partition whose share of the worker's buffer is
//! full, or whose window of open offsets is, is paused alone.

use crate::{
    KafkaSettler,
    commit::{self, Outstanding},
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

/// The most that goes to the worker at once, in messages and bytes.
const BATCH: usize = 64;
const BATCH_BYTES: usize = 1024 * 1024;

/// How long a poll waits for a record.
const PATIENCE: Duration = Duration::from_millis(100);
/// The same while a partition is paused, which must be resumed soon after it has room again.
const PATIENCE_PAUSED: Duration = Duration::from_millis(10);
/// How long a lack of demand lasts before everything is paused.
const PAUSE_AFTER: Duration = Duration::from_millis(500);
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
    /// What was asked to be committed, and what was confirmed, in this assignment. Below 0: nothing yet.
    pub(crate) requested: i64,
    pub(crate) committed: i64,
}

/// A record that was read and not handed out yet: it is in no tracker, so that it comes again if it is dropped.
struct Held {
    slot: usize,
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
    held: VecDeque<Held>,
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

/// A consumer that has seen its servers and its topics.
fn connect(plan: &Plan, exchange: &Exchange) -> Result<BaseConsumer<Context>, Error> {
    let servers = plan.kafka.servers();
    let client = |error| errors::from_client(error, servers);
    let consumer: BaseConsumer<Context> =
        plan.config.create_with_context(Context::default()).map_err(client)?;
    let deadline = Instant::now() + plan.connect_timeout;
    for topic in &plan.topics {
        // A regular expression over names: only the servers can be checked.
        let name = (!topic.starts_with('^')).then_some(topic.as_str());
        check_topic(&consumer, name, servers, deadline, exchange)?;
    }
    let topics: Vec<&str> = plan.topics.iter().map(String::as_str).collect();
    consumer.subscribe(&topics).map_err(|error| errors::from_client(error, &plan.topics.join(",")))?;
    Ok(consumer)
}

fn check_topic(
    consumer: &BaseConsumer<Context>,
    topic: Option<&str>,
    servers: &str,
    deadline: Instant,
    exchange: &Exchange,
) -> Result<(), Error> {
    loop {
        // In slices, so that a refused login or an abandoned attempt ends the wait.
        let slice = deadline.saturating_duration_since(Instant::now()).min(Duration::from_millis(500));
        let error = match consumer.fetch_metadata(Some(topic.unwrap_or("")).filter(|t| !t.is_empty()), slice)
        {
            Ok(metadata) => {
                let found = metadata.topics().iter().find(|t| Some(t.name()) == topic);
                match found.and_then(|topic| topic.error()).map(Code::from) {
                    None => return Ok(()),
                    // Just created, or between two leaders.
                    Some(code @ (Code::LeaderNotAvailable | Code::UnknownTopicOrPartition))
                        if code == Code::LeaderNotAvailable && Instant::now() < deadline =>
                    {
                        KafkaError::MetadataFetch(code)
                    }
                    Some(code) => {
                        let error = KafkaError::MetadataFetch(code);
                        return Err(errors::from_client(error, topic.unwrap_or(servers)));
                    }
                }
            }
            Err(error) => error,
        };
        // Errors of the connection come as events, and only to who polls.
        while let Some(event) = consumer.poll(Duration::ZERO) {
            drop(event);
        }
        if let Some((code, reason)) = consumer.context().reason()
            && errors::ends_source(code)
        {
            let (kind, remedy) = errors::meaning(code);
            return Err(Error::new(kind, servers, remedy).with_source(reason));
        }
        if exchange.closing().is_some() {
            return Err(Error::new(ErrorKind::Closed, servers, "the attempt was given up"));
        }
        if Instant::now() >= deadline {
            let (kind, remedy) = errors::meaning(Code::BrokerTransportFailure);
            let reason = consumer.context().reason().map(|(_, reason)| reason);
            return Err(match reason {
                Some(reason) => Error::new(kind, servers, remedy).with_source(reason),
                None => Error::new(kind, servers, remedy).with_source(error),
            });
        }
    }
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
                    bytes += held.message.size();
                    batch.extend(self.deliver(held));
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
        } else if !self.consumer.context().pending() {
            let paused = self.slots.iter().any(|slot| slot.paused);
            self.poll(if paused { PATIENCE_PAUSED } else { PATIENCE });
        }
    }

    /// Nobody wants anything: keeps the membership alive and waits for a change.
    fn idle(&mut self) {
        let mut changed = pin!(self.demand.changed());
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let told = changed.as_mut().poll(&mut task::Context::from_waker(&waker)).is_ready();
        // Looked at once more after the waker is in place.
        if told || self.ready() || self.exchange.closing().is_some() {
            return;
        }
        let since = *self.idle_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= PAUSE_AFTER {
            self.pause_all();
        }
        if (self.held.is_empty() || self.all_paused) && self.poll(Duration::ZERO) {
            return;
        }
        std::thread::park_timeout(IDLE);
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
            self.block(held);
            return None;
        }
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

    /// Keeps a record and pauses its partition until it may go on.
    fn block(&mut self, held: Held) {
        let slot = &mut self.slots[held.slot];
        slot.paused = true;
        let list = list([&*slot.partition]);
        self.held.push_front(held);
        self.report("pause", self.consumer.pause(&list));
    }

    /// Resumes the partitions that have room again.
    fn unblock(&mut self) {
        let demand = &self.demand;
        let free =
            |slot: &&mut Slot| slot.paused && !demand.blocked(slot.partition.index) && !slot.partition.full();
        let mut freed = Vec::new();
        for slot in self.slots.iter_mut().filter(free) {
            slot.paused = false;
            if slot.assigned {
                freed.push(slot.partition.clone());
            }
        }
        if !freed.is_empty() && !self.all_paused {
            self.report("resume", self.consumer.resume(&list(freed.iter().map(|p| &**p))));
        }
    }

    fn pause_all(&mut self) {
        if !self.all_paused {
            self.all_paused = true;
            let assigned = list(self.slots.iter().filter(|slot| slot.assigned).map(|slot| &*slot.partition));
            self.report("pause", self.consumer.pause(&assigned));
        }
    }

    fn resume_all(&mut self) {
        if self.all_paused {
            self.all_paused = false;
            let flowing = self.slots.iter().filter(|slot| slot.assigned && !slot.paused);
            let flowing = list(flowing.map(|slot| &*slot.partition));
            self.report("resume", self.consumer.resume(&flowing));
        }
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

    fn report(&self, what: &str, result: Result<(), KafkaError>) {
        if let Err(error) = result {
            tracing::debug!(%error, what, "the client refused");
        }
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
    }
}

/// These partitions, without offsets.
pub(crate) fn list<'a>(partitions: impl IntoIterator<Item = &'a Partition>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        list.add_partition(partition.topic(), partition.number);
    }
    list
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
