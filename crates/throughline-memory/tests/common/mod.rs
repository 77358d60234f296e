//! What the tests of the broker share: members without a worker around them, and an observer that remembers.

#![allow(dead_code, reason = "each test file uses its own part")]

use futures_util::future::FutureExt;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use throughline_core::{
    Capacity, Delivery, Demand, DemandControl, Event, Message, Observe, Receipt, Settlement, Settler, Source,
    Subscription,
};
use throughline_memory::{Memory, MemorySettler, MemorySource, MemorySubscription};
use tower_service::Service;

pub(crate) type Given = Delivery<MemorySettler>;

/// Remembers events as lines.
#[derive(Default)]
pub(crate) struct Recorder(Mutex<Vec<String>>);

impl Observe for Recorder {
    fn observe(&self, event: Event<'_>) {
        let line = match event {
            Event::Received { count, .. } => format!("received {count}"),
            Event::Committed { partition, offset, .. } => format!("committed {partition}@{offset}"),
            Event::Lag { partition, messages, .. } => format!("lag {partition}={messages}"),
            Event::LeaseLost { count, .. } => format!("lost {count}"),
            Event::Rebalanced { assigned, revoked } => format!("+{} -{}", assigned.len(), revoked.len()),
            other => format!("{other:?}"),
        };
        self.0.lock().unwrap().push(line);
    }
}

/// A source with the worker's side of its demand.
pub(crate) struct Member {
    pub(crate) source: MemorySource,
    pub(crate) control: DemandControl,
    pub(crate) seen: Arc<Recorder>,
}

impl Member {
    /// Joins with room for this many.
    pub(crate) fn with_room(subscription: &MemorySubscription, messages: usize) -> Member {
        let (control, demand) = Demand::new(Capacity { messages, bytes: usize::MAX });
        let seen = Arc::<Recorder>::default();
        let source = subscription.subscribe(demand, seen.clone()).now_or_never().unwrap().unwrap();
        Member { source, control, seen }
    }

    pub(crate) fn join(subscription: &MemorySubscription) -> Member {
        Member::with_room(subscription, 1000)
    }

    /// What there is now.
    pub(crate) fn now(&mut self) -> Vec<Given> {
        self.source.receive().now_or_never().map_or(Vec::new(), |batch| batch.unwrap())
    }

    /// Waits for the next batch.
    pub(crate) async fn next(&mut self) -> Vec<Given> {
        soon(self.source.receive()).await.unwrap()
    }

    pub(crate) fn events(&self) -> Vec<String> {
        std::mem::take(&mut *self.seen.0.lock().unwrap())
    }
}

/// What must happen, with a bound so wide that only a stall meets it.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("it stalls")
}

pub(crate) fn broker(partitions: u32) -> Memory {
    let broker = Memory::new();
    broker.create_topic("t", partitions).unwrap();
    broker
}

pub(crate) fn send(broker: &Memory, message: Message) -> Receipt {
    broker.topic("t").call(message).now_or_never().unwrap().unwrap()
}

/// A message for partition 0 with each of these keys.
pub(crate) fn send_keyed<const N: usize>(broker: &Memory, keys: [&'static str; N]) {
    for key in keys {
        send(broker, keyed(key));
    }
}

/// A message for partition 0 with this key, if not empty.
pub(crate) fn keyed(key: &'static str) -> Message {
    let message = Message::new(key).with_partition(0);
    if key.is_empty() { message } else { message.with_key(key) }
}

pub(crate) fn settle(delivery: Given, how: Settlement) {
    delivery.settler.settle(how).now_or_never().unwrap().unwrap();
}

pub(crate) fn ack(delivery: Given) {
    settle(delivery, Settlement::Ack);
}

pub(crate) fn offset(delivery: &Given) -> i64 {
    delivery.message.origin().unwrap().offset.unwrap()
}

pub(crate) fn partition(delivery: &Given) -> i32 {
    delivery.message.origin().unwrap().partition.unwrap()
}

pub(crate) fn count(delivery: &Given) -> u32 {
    delivery.message.origin().unwrap().delivery_count
}

pub(crate) fn offsets(batch: &[Given]) -> Vec<i64> {
    batch.iter().map(offset).collect()
}
