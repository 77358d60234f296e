//! A subscription: who reads what, and from where.

use crate::{config::Start, shared::Shared, source::MemorySource};
use std::{fmt, sync::Arc};
use throughline_core::{Capacity, Demand, Error, Observer, Redelivery, Subscription};

/// The group of a subscription that names none.
const DEFAULT_GROUP: &str = "default";

/// A subscription to topics of a [`Memory`](crate::Memory), made by [`Memory::subscribe`](crate::Memory::subscribe).
///
/// Each source of it is a member of the group, and the members share the partitions. As on Kafka the worker holds what
/// is to be tried again ([`Redelivery::Worker`]); what is nacked at the settler all the same, or dropped, comes again
/// to the same member.
#[derive(Clone)]
pub struct MemorySubscription {
    pub(crate) shared: Arc<Shared>,
    pub(crate) topics: Vec<String>,
    group: String,
    start: Start,
}

impl MemorySubscription {
    pub(crate) fn new(shared: Arc<Shared>, topics: Vec<String>) -> Self {
        MemorySubscription { shared, topics, group: DEFAULT_GROUP.to_owned(), start: Start::Earliest }
    }

    /// The group whose members share the partitions and whose committed offsets are kept; `default` if not said.
    #[must_use]
    pub fn group(mut self, name: impl Into<String>) -> Self {
        self.group = name.into();
        self
    }

    /// Where the group begins; [`Start::Earliest`] if not said.
    #[must_use]
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }
}

impl Subscription for MemorySubscription {
    type Source = MemorySource;

    /// Joins the group.
    ///
    /// # Errors
    /// [`NotFound`](throughline_core::ErrorKind::NotFound) for a topic that does not exist, unless topics are made as
    /// they are named; [`Config`](throughline_core::ErrorKind::Config) for an empty list of topics.
    async fn subscribe(&self, demand: Demand, observer: Observer) -> Result<MemorySource, Error> {
        MemorySource::join(self.shared.clone(), &self.topics, &self.group, self.start, demand, observer)
    }

    fn redelivery(&self) -> Redelivery {
        Redelivery::Worker
    }

    fn capacity(&self, in_flight: usize) -> Capacity {
        // As on Kafka: as many as run, and four times that waiting in a lane or parked.
        Capacity { messages: in_flight.saturating_mul(5), bytes: 32 * 1024 * 1024 }
    }
}

impl fmt::Debug for MemorySubscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemorySubscription")
            .field("topics", &self.topics)
            .field("group", &self.group)
            .field("start", &self.start)
            .finish()
    }
}
