//! In place of the client library of your broker: queues in memory, for whoever takes from them first.

use bytes::Bytes;
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use throughline_core::Headers;
use tokio::sync::{Notify, futures::Notified};

/// A message as this broker has it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    pub(crate) number: u64,
    pub(crate) deliveries: u32,
    pub(crate) body: Option<Bytes>,
    pub(crate) key: Option<Bytes>,
    pub(crate) headers: Headers,
}

/// A clone is a handle of the same queues.
#[derive(Clone, Default)]
pub(crate) struct Client(Arc<Shared>);

#[derive(Default)]
struct Shared {
    queues: Mutex<HashMap<String, Queue>>,
    arrived: Notify,
}

#[derive(Default)]
struct Queue {
    sent: u64,
    waiting: VecDeque<Record>,
}

impl Client {
    pub(crate) fn create(&self, queue: &str) {
        self.queues().entry(queue.to_owned()).or_default();
    }

    /// The number that it got; `None` if there is no such queue.
    pub(crate) fn send(&self, queue: &str, mut record: Record) -> Option<u64> {
        let mut queues = self.queues();
        let queue = queues.get_mut(queue)?;
        queue.sent += 1;
        record.number = queue.sent;
        queue.waiting.push_back(record);
        self.0.arrived.notify_waiters();
        Some(queue.sent)
    }

    /// As many as there are, which is none if the queue is empty; `None` if there is no such queue.
    pub(crate) fn take(&self, queue: &str, at_most: usize) -> Option<Vec<Record>> {
        let mut queues = self.queues();
        let waiting = &mut queues.get_mut(queue)?.waiting;
        let taken = waiting.drain(..at_most.min(waiting.len()));
        Some(taken.map(|record| Record { deliveries: record.deliveries + 1, ..record }).collect())
    }

    /// It was taken and is not done.
    pub(crate) fn give_back(&self, queue: &str, record: Record) {
        if let Some(queue) = self.queues().get_mut(queue) {
            queue.waiting.push_front(record);
            self.0.arrived.notify_waiters();
        }
    }

    /// Resolves when there may be something to take that was not there at this call.
    pub(crate) fn arrived(&self) -> Notified<'_> {
        self.0.arrived.notified()
    }

    fn queues(&self) -> MutexGuard<'_, HashMap<String, Queue>> {
        self.0.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
