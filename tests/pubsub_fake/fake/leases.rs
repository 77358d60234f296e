//! The messages of a subscription: waiting, or leased to a stream until a deadline.

use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::{PubsubMessage, ReceivedMessage};
use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

/// Pure bookkeeping; the clock is the caller's.
#[derive(Debug, Default)]
pub(super) struct Leases {
    waiting: VecDeque<PubsubMessage>,
    leased: HashMap<String, Leased>,
    deliveries: u64,
}

#[derive(Debug)]
struct Leased {
    message: PubsubMessage,
    stream: usize,
    until: Instant,
}

impl Leases {
    pub(super) fn put(&mut self, message: PubsubMessage) {
        self.waiting.push_back(message);
    }

    /// Leases what waits to this stream, at most so many.
    pub(super) fn deliver(&mut self, stream: usize, most: usize, until: Instant) -> Vec<ReceivedMessage> {
        let count = most.min(self.waiting.len());
        let messages: Vec<_> = self.waiting.drain(..count).collect();
        messages.into_iter().map(|message| self.lease(message, stream, until)).collect()
    }

    fn lease(&mut self, message: PubsubMessage, stream: usize, until: Instant) -> ReceivedMessage {
        self.deliveries += 1;
        let ack_id = format!("ack-{}", self.deliveries);
        let received =
            ReceivedMessage { ack_id: ack_id.clone(), message: Some(message.clone()), delivery_attempt: 0 };
        self.leased.insert(ack_id, Leased { message, stream, until });
        received
    }

    /// How many messages are leased to this stream.
    pub(super) fn of(&self, stream: usize) -> usize {
        self.leased.values().filter(|leased| leased.stream == stream).count()
    }

    /// How many are leased, and how many wait.
    pub(super) fn count(&self) -> (usize, usize) {
        (self.leased.len(), self.waiting.len())
    }

    /// The message of a lease.
    pub(super) fn message(&self, ack_id: &str) -> Option<&PubsubMessage> {
        self.leased.get(ack_id).map(|leased| &leased.message)
    }

    /// Forgets a message: it is done.
    pub(super) fn done(&mut self, ack_id: &str) {
        self.leased.remove(ack_id);
    }

    /// Moves the deadline of a lease; zero ends it, and the message is next.
    pub(super) fn extend(&mut self, ack_id: &str, by: Duration, now: Instant) {
        if by.is_zero() {
            let given_back = self.leased.remove(ack_id);
            self.waiting.extend(given_back.map(|leased| leased.message));
        } else if let Some(leased) = self.leased.get_mut(ack_id) {
            leased.until = now + by;
        }
    }

    /// Ends the leases whose deadline is past: their messages wait again. Gives their number.
    pub(super) fn expire(&mut self, now: Instant) -> usize {
        let before = self.waiting.len();
        let over = self.leased.extract_if(|_, leased| leased.until <= now);
        self.waiting.extend(over.map(|(_, leased)| leased.message));
        self.waiting.len() - before
    }
}
