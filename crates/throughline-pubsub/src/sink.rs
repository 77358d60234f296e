//! Sends to one topic.

use crate::{PubSub, names::Kind};
use std::{fmt, sync::Arc};
use throughline_core::{Destination, Error};

/// A sink of one topic: made by [`PubSub::topic`](crate::PubSub::topic).
#[derive(Clone)]
pub struct PubSubSink {
    pubsub: PubSub,
    topic: String,
    destination: Arc<Destination>,
}

impl PubSubSink {
    pub(crate) fn new(pubsub: PubSub, topic: String) -> Self {
        let destination = pubsub.destination(&topic, None);
        PubSubSink { pubsub, topic, destination }
    }

    /// The topic's full name.
    ///
    /// # Errors
    /// `Config` if it is not a name, or if it is short and no project is known.
    pub fn full_name(&self) -> Result<String, Error> {
        self.pubsub.full_name(Kind::Topic, &self.topic)
    }
}

impl fmt::Debug for PubSubSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PubSubSink").field("topic", &self.destination.name).finish_non_exhaustive()
    }
}
