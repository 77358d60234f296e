//! What the tests against a real broker share.
#![allow(dead_code, reason = "each test binary uses a part of it")]

pub(crate) mod raw;

use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
};
use std::{
    future::{Future, poll_fn},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, SystemTime},
};
use throughline_core::{
    Capacity, Delivery, Demand, DemandControl, Error, ErrorKind, Event, Message, Observe, Receipt,
    Settlement, Settler, Source, Subscription,
};
use throughline_kafka::{Kafka, KafkaSettler, KafkaSink, KafkaSource, KafkaSubscription};
use tower_service::Service;

/// Longer than anything here may take on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// The broker that the test command started. Without one a test fails: it must not pass unseen.
pub(crate) fn kafka() -> Kafka {
    Kafka::new(servers())
}

/// Its address.
pub(crate) fn servers() -> String {
    std::env::var("THROUGHLINE_KAFKA")
        .expect("THROUGHLINE_KAFKA=host:port names the broker; `cargo xtask test` starts one and sets it")
}

/// A name that no other test uses.
pub(crate) fn unique(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
    format!("{what}-{}-{now}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A fresh topic.
pub(crate) async fn topic(kafka: &Kafka, what: &str, partitions: i32) -> String {
    let topic = unique(what);
    kafka.admin().create_topic(&topic, partitions).await.unwrap();
    topic
}

/// Sends one message and waits for the broker's word.
pub(crate) async fn send(sink: &mut KafkaSink, message: Message) -> Result<Receipt, Error> {
    poll_fn(|cx| sink.poll_ready(cx)).await?;
    sink.call(message).await
}

/// Sends `n` messages whose payload is their number, round robin over the partitions.
pub(crate) async fn fill(kafka: &Kafka, topic: &str, partitions: i32, n: u32) {
    let mut sink = kafka.topic(topic);
    let mut sent = Vec::new();
    for id in 0..n {
        poll_fn(|cx| sink.poll_ready(cx)).await.unwrap();
        let partition = i32::try_from(id).unwrap() % partitions;
        sent.push(sink.call(Message::new(id.to_string()).with_partition(partition)));
    }
    for sent in sent {
        sent.await.unwrap();
    }
}

/// Subscribes quickly: a heartbeat of 300 ms lets a group see a change within that time.
pub(crate) fn quick(kafka: Kafka) -> Kafka {
    kafka.set("heartbeat.interval.ms", "300").set("session.timeout.ms", "6000")
}

/// What a source reported.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) committed: Mutex<Vec<(i32, i64)>>,
    pub(crate) lost: AtomicU32,
    pub(crate) unreadable: AtomicU32,
    pub(crate) assigned: Mutex<Vec<i32>>,
    pub(crate) rebalances: AtomicU32,
    pub(crate) unreadable_batches: Mutex<Vec<(ErrorKind, String)>>,
    pub(crate) lags: Mutex<Vec<(i32, i64)>>,
    /// Each as (partition, from, to).
    pub(crate) skipped: Mutex<Vec<(i32, i64, i64)>>,
    pub(crate) missing: Mutex<Vec<Vec<String>>>,
    pub(crate) outages: AtomicU32,
    pub(crate) returns: AtomicU32,
}

impl Seen {
    pub(crate) fn last_commit(&self) -> Option<(i32, i64)> {
        self.committed.lock().unwrap().last().copied()
    }
}

impl Observe for Seen {
    fn observe(&self, event: Event<'_>) {
        match event {
            Event::Committed { partition, offset, .. } => {
                self.committed.lock().unwrap().push((partition, offset))
            }
            Event::LeaseLost { count, .. } => {
                self.lost.fetch_add(u32::try_from(count).unwrap(), Ordering::SeqCst);
            }
            Event::Skipped { partition, from, to, .. } => {
                self.skipped.lock().unwrap().push((partition, from, to));
            }
            Event::Missing { topics } => {
                self.missing.lock().unwrap().push(topics.iter().map(ToString::to_string).collect());
            }
            Event::Reconnecting { .. } => {
                self.outages.fetch_add(1, Ordering::SeqCst);
            }
            Event::Reconnected => {
                self.returns.fetch_add(1, Ordering::SeqCst);
            }
            Event::Lag { partition, messages, .. } => self.lags.lock().unwrap().push((partition, messages)),
            Event::HeadersUnreadable { .. } => {
                self.unreadable.fetch_add(1, Ordering::SeqCst);
            }
            Event::Unreadable { error } => {
                self.unreadable_batches.lock().unwrap().push((error.kind(), error.to_string()));
            }
            Event::Rebalanced { assigned, revoked } => {
                self.rebalances.fetch_add(1, Ordering::SeqCst);
                let mut mine = self.assigned.lock().unwrap();
                mine.retain(|p| !revoked.iter().any(|(_, r)| r == p));
                mine.extend(assigned.iter().map(|(_, p)| *p));
            }
            _ => {}
        }
    }
}

/// A member of a group, and what a worker has beside it.
pub(crate) struct Member {
    pub(crate) source: KafkaSource,
    pub(crate) control: DemandControl,
    pub(crate) seen: Arc<Seen>,
}

impl Member {
    pub(crate) async fn join(subscription: &KafkaSubscription, messages: usize) -> Member {
        let (control, demand) = Demand::new(Capacity { messages, bytes: 32 << 20 });
        let seen = Arc::<Seen>::default();
        let source = within(subscription.subscribe(demand, seen.clone())).await.unwrap();
        Member { source, control, seen }
    }

    /// The next batch; counted as taken, as a worker counts it.
    pub(crate) async fn receive(&mut self) -> Vec<Delivery<KafkaSettler>> {
        let batch = within(self.source.receive()).await.unwrap();
        for delivery in &batch {
            self.control.take(delivery.partition, 1, delivery.message.size());
        }
        batch
    }

    /// At least `n` deliveries.
    pub(crate) async fn take(&mut self, n: usize) -> Vec<Delivery<KafkaSettler>> {
        let mut all = Vec::new();
        while all.len() < n {
            all.extend(self.receive().await);
        }
        all
    }

    /// At least `n` deliveries, each settled as it came; gives their offsets.
    pub(crate) async fn handle(&mut self, n: usize) -> Vec<i64> {
        let mut offsets = Vec::new();
        while offsets.len() < n {
            for delivery in self.receive().await {
                offsets.push(offset(&delivery));
                self.settle(delivery, Settlement::Ack).await.unwrap();
            }
        }
        offsets
    }

    /// Settles, and gives the place back.
    pub(crate) async fn settle(
        &self,
        delivery: Delivery<KafkaSettler>,
        how: Settlement,
    ) -> Result<(), Error> {
        let (partition, size) = (delivery.partition, delivery.message.size());
        let result = delivery.settler.settle(how).await;
        self.control.release([(partition, 1, size)]);
        result
    }

    /// Goes on asking for messages that are not expected to come.
    pub(crate) fn receiving(self) -> Receiving {
        let (seen, control) = (self.seen.clone(), self.control.clone());
        let task = tokio::runtime::Handle::current().spawn(async move {
            let mut member = self;
            let batch = within(member.source.receive()).await.unwrap();
            assert!(batch.is_empty(), "something came: {batch:?}");
            member
        });
        Receiving { seen, control, task }
    }

    pub(crate) async fn close(self) -> Result<(), Error> {
        self.control.stop();
        within(self.source.close(std::time::Instant::now() + LONG)).await
    }
}

/// A member that waits for messages on a task of its own.
pub(crate) struct Receiving {
    pub(crate) seen: Arc<Seen>,
    control: DemandControl,
    task: tokio::task::JoinHandle<Member>,
}

impl Receiving {
    /// Ends the wait.
    pub(crate) async fn stop(self) -> Member {
        self.control.stop();
        within(self.task).await.unwrap()
    }
}

/// The number in the payload.
pub(crate) fn id(message: &Message) -> u32 {
    std::str::from_utf8(message.payload()).unwrap().parse().unwrap()
}

pub(crate) fn offset<Z>(delivery: &Delivery<Z>) -> i64 {
    delivery.message.origin().unwrap().offset.unwrap()
}

/// Fails the test if it takes longer than anything may.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(LONG, future).await.expect("took longer than anything here may take")
}

/// Waits until it is so.
pub(crate) async fn until(is_so: impl Fn() -> bool) {
    within(async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Removes the records of partition 0 that are below this offset, as retention would.
pub(crate) async fn delete_before(topic: &str, offset: i64) {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Offset(offset)).unwrap();
    let client: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", servers()).create().unwrap();
    within(client.delete_records(&list, &AdminOptions::new())).await.unwrap();
}
