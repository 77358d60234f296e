//! A broker that costs next to nothing: a subscription that delivers prepared messages, and an endpoint that takes
//! everything.

use bytes::Bytes;
use std::{
    future::Ready,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Instant, SystemTime},
};
use throughline::{
    Capacity, Delivery, Demand, Destination, Endpoint, Error, Header, Headers, Lease, Message, Observer,
    Origin, PartitionIndex, Receipt, Redelivery, Settlement, Settler, Source, Subscription,
};
use tower::Service;

/// As many as go through a worker's mailbox at once.
const BATCH: u64 = 64;
const PARTITIONS: u32 = 4;
/// So many different keys, and as many messages: clones of a single one would bounce its reference counts between
/// the cores, which real messages do not.
const KEYS: usize = 1024;

/// What the messages carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried {
    /// No trace context: their producer does not trace.
    Nothing,
    /// A `traceparent` that is sampled.
    Sampled,
    /// A `traceparent` that is not.
    Unsampled,
}

/// Where the messages come from: a Kafka topic with a group, a partition and an offset.
pub fn source_of_all() -> Arc<Destination> {
    let mut orders = Destination::new("kafka", "orders");
    orders.group = Some("classifier".into());
    orders.server = Some(("broker-1.internal".into(), 9092));
    Arc::new(orders)
}

/// Where messages are published to.
pub fn destination() -> Arc<Destination> {
    let mut enriched = Destination::new("kafka", "enriched");
    enriched.server = Some(("broker-1.internal".into(), 9092));
    Arc::new(enriched)
}

/// A message of 100 bytes with two headers.
pub fn message(from: &Arc<Destination>, carried: Carried) -> Message {
    let (name, value) = match carried {
        Carried::Nothing => ("tenant", "7"),
        Carried::Sampled => ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        Carried::Unsampled => ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"),
    };
    let header = |name: &'static str, value: &'static str| Header {
        name: name.into(),
        value: Some(Bytes::from_static(value.as_bytes())),
    };
    let headers: Headers =
        [header("content-type", "application/json"), header(name, value)].into_iter().collect();
    let mut origin = Origin::new(from.clone());
    (origin.partition, origin.offset, origin.time) = (Some(3), Some(1_000_000), Some(SystemTime::now()));
    Message::received(Some(Bytes::from_static(&[b'7'; 100])), None, headers, origin)
}

/// Delivers a number of messages in batches of 64 and ends.
#[derive(Clone, Debug)]
pub struct Replay {
    messages: Arc<[Message]>,
    count: u64,
    settled: Arc<AtomicU64>,
}

impl Replay {
    /// Messages with 1,024 different keys.
    pub fn new(count: u64, carried: Carried) -> Self {
        let from = source_of_all();
        let messages = (0..KEYS).map(|n| message(&from, carried).with_key(format!("customer-{n:04}")));
        Replay { messages: messages.collect(), count, settled: Arc::default() }
    }

    /// How many it delivers.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// How many were acknowledged.
    pub fn settled(&self) -> Arc<AtomicU64> {
        self.settled.clone()
    }
}

impl Subscription for Replay {
    type Source = ReplaySource;

    async fn subscribe(&self, demand: Demand, _: Observer) -> Result<ReplaySource, Error> {
        (0..PARTITIONS).for_each(|partition| demand.assign(PartitionIndex(partition)));
        // Leaked: a counted reference in each settler would be what is measured.
        let counted: &'static AtomicU64 = Box::leak(Box::default());
        let messages = self.messages.clone();
        Ok(ReplaySource {
            messages,
            next: 0,
            left: self.count,
            partition: 0,
            demand,
            counted,
            total: self.settled.clone(),
        })
    }

    fn redelivery(&self) -> Redelivery {
        Redelivery::Worker
    }

    fn capacity(&self, in_flight: usize) -> Capacity {
        // As Kafka's.
        Capacity { messages: 4 * in_flight, bytes: 32 << 20 }
    }
}

/// The source of a [`Replay`].
#[derive(Debug)]
pub struct ReplaySource {
    messages: Arc<[Message]>,
    next: usize,
    left: u64,
    partition: u32,
    demand: Demand,
    counted: &'static AtomicU64,
    total: Arc<AtomicU64>,
}

impl ReplaySource {
    /// The next partition that may be handed over; one a batch, as a poll of a log brings runs of one partition.
    fn turn(&mut self) -> Option<PartitionIndex> {
        for _ in 0..PARTITIONS {
            self.partition = (self.partition + 1) % PARTITIONS;
            let partition = PartitionIndex(self.partition);
            if !self.demand.blocked(partition) {
                return Some(partition);
            }
        }
        None
    }
}

impl Source for ReplaySource {
    type Settler = ReplaySettler;

    async fn receive(&mut self) -> Result<Vec<Delivery<ReplaySettler>>, Error> {
        let wanted = self.left.min(BATCH) as usize;
        if wanted == 0 {
            return Ok(Vec::new());
        }
        let partition = loop {
            let changed = self.demand.changed();
            if self.demand.stopping() {
                return Ok(Vec::new());
            }
            if self.demand.free() >= wanted
                && let Some(partition) = self.turn()
            {
                break partition;
            }
            changed.await;
        };
        let mut batch = Vec::with_capacity(wanted);
        for _ in 0..wanted {
            let message = self.messages[self.next].clone();
            self.next = (self.next + 1) % self.messages.len();
            batch.push(Delivery {
                message,
                settler: ReplaySettler(self.counted),
                lease: Lease::forever(),
                partition,
            });
        }
        self.left -= wanted as u64;
        Ok(batch)
    }

    async fn close(self, _: Instant) -> Result<(), Error> {
        self.total.fetch_add(self.counted.load(Ordering::Acquire), Ordering::AcqRel);
        Ok(())
    }
}

/// Counts acknowledgements.
#[derive(Debug)]
pub struct ReplaySettler(&'static AtomicU64);

impl Settler for ReplaySettler {
    async fn settle(self, how: Settlement) -> Result<(), Error> {
        if how == Settlement::Ack {
            self.0.fetch_add(1, Ordering::AcqRel);
        }
        Ok(())
    }
}

/// Takes every message and keeps none.
#[derive(Clone, Debug)]
pub struct NullSink(Arc<Destination>);

impl Default for NullSink {
    fn default() -> Self {
        NullSink(destination())
    }
}

impl Endpoint for NullSink {
    fn destination(&self) -> Arc<Destination> {
        self.0.clone()
    }
}

impl Service<Message> for NullSink {
    type Response = Receipt;
    type Error = Error;
    type Future = Ready<Result<Receipt, Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, message: Message) -> Self::Future {
        drop(std::hint::black_box(message));
        std::future::ready(Ok(Receipt::default()))
    }
}
