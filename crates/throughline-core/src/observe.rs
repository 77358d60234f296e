//! What an adapter says of its own doings.

use crate::{ByteString, Destination, Error, Settlement};
use bytes::Bytes;
use std::{fmt, sync::Arc, time::Duration};

/// Listens to an adapter. Called from its threads, once a batch rather than once a message: it must return at once.
pub trait Observe: Send + Sync + 'static {
    /// Something happened.
    fn observe(&self, event: Event<'_>);
}

/// Shared by everything that one source started.
pub type Observer = Arc<dyn Observe>;

/// Hears everything and keeps nothing.
impl Observe for () {
    fn observe(&self, _: Event<'_>) {}
}

/// What happened. Numbers and names only: what to make of it (a span, a metric, a log line) is the listener's choice.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A batch came from the broker.
    Received {
        /// From where.
        destination: &'a Arc<Destination>,
        /// How many.
        count: usize,
    },
    /// The broker answered a settlement, or will never do so.
    Settled(Settled<'a>),
    /// Everything below these offsets is done for the group.
    Committed {
        /// The topic.
        destination: &'a Arc<Destination>,
        /// The partition.
        partition: i32,
        /// The next offset that would be delivered after a restart.
        offset: i64,
    },
    /// Messages were no longer ours when their answer came, or before.
    LeaseLost {
        /// From where.
        destination: &'a Arc<Destination>,
        /// How many.
        count: usize,
    },
    /// Positions were passed over without a delivery, which is not by itself a loss; `reason` says why.
    Skipped {
        /// The topic.
        destination: &'a Arc<Destination>,
        /// The partition.
        partition: i32,
        /// From this offset.
        from: i64,
        /// Up to, not including, this one.
        to: i64,
        /// Why.
        reason: &'a str,
    },
    /// A message was delivered without its headers, because they could not be read.
    HeadersUnreadable {
        /// The topic.
        destination: &'a Arc<Destination>,
        /// The partition.
        partition: i32,
        /// Which message.
        offset: i64,
    },
    /// The connection is gone; the adapter goes on trying.
    Reconnecting {
        /// What it met.
        error: &'a Error,
    },
    /// It is back.
    Reconnected,
    /// Which topics of the subscription do not exist, or no longer: said at each change.
    Missing {
        /// Their names; none if all are there again.
        topics: &'a [ByteString],
    },
    /// A batch of records cannot be read by this build, or is damaged. Its partition rests before it and the others go on;
    /// said again at every try.
    Unreadable {
        /// Which, and what to do.
        error: &'a Error,
    },
    /// How far a partition is behind its end.
    Lag {
        /// The topic.
        destination: &'a Arc<Destination>,
        /// The partition.
        partition: i32,
        /// Messages that are not done, as far as this consumer may see them.
        messages: i64,
    },
    /// The assignment changed.
    Rebalanced {
        /// Gained, as `(topic, partition)`.
        assigned: &'a [(Arc<Destination>, i32)],
        /// Given up.
        revoked: &'a [(Arc<Destination>, i32)],
    },
}

/// One answer of the broker to settlements.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Settled<'a> {
    /// Of what.
    pub destination: &'a Arc<Destination>,
    /// How many.
    pub count: usize,
    /// How.
    pub how: Settlement,
    /// The broker's answer.
    pub result: Result<(), &'a Error>,
    /// How long the broker took.
    pub duration: Duration,
    /// The `traceparent`s that the messages came with, where the adapter keeps them: what a span over the answer links
    /// to.
    pub contexts: &'a [Bytes],
    /// The broker's identity for the request, where it gives one.
    pub request_id: Option<&'a str>,
}

impl<'a> Settled<'a> {
    /// All of it.
    pub fn new(
        destination: &'a Arc<Destination>,
        count: usize,
        how: Settlement,
        result: Result<(), &'a Error>,
        duration: Duration,
    ) -> Self {
        Settled { destination, count, how, result, duration, contexts: &[], request_id: None }
    }

    /// With the `traceparent`s that the messages came with.
    #[must_use]
    pub fn contexts(mut self, contexts: &'a [Bytes]) -> Self {
        self.contexts = contexts;
        self
    }

    /// With the broker's identity for the request.
    #[must_use]
    pub fn request_id(mut self, id: Option<&'a str>) -> Self {
        self.request_id = id;
        self
    }
}

impl fmt::Debug for Settled<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settled")
            .field("destination", &self.destination.name)
            .field("count", &self.count)
            .field("how", &self.how)
            .field("result", &self.result)
            .field("duration", &self.duration)
            .finish()
    }
}
