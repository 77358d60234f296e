//! What the suite must know of a broker.

use super::Features;
use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};
use throughline_core::{Endpoint, Error, Subscription};

/// Where a group begins that has committed nothing yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Start {
    /// With the oldest message.
    Earliest,
    /// With what is published after it joined.
    Latest,
}

/// A broker under test: how to make topics, subscriptions and sinks on it.
pub trait Broker: Send + Sync + 'static {
    /// The adapter's subscription.
    type Subscription: Subscription;
    /// The adapter's sink.
    type Sink: Endpoint;

    /// What it can do.
    fn features(&self) -> Features;

    /// Makes a topic with this many partitions; a broker without partitions makes a queue.
    fn create_topic(&self, name: &str, partitions: u32) -> impl Future<Output = Result<(), Error>> + Send;

    /// A subscription of a group to a topic. [`Start::Latest`] is asked for only with
    /// [`Features::start_position`].
    fn subscription(&self, topic: &str, group: &str, start: Start) -> Self::Subscription;

    /// A sink for a topic, which need not exist.
    fn sink(&self, topic: &str) -> Self::Sink;

    /// A name that nobody uses yet.
    fn fresh_name(&self, prefix: &str) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        format!("{prefix}-{:08x}-{n}", fastrand::u32(..))
    }

    /// How long to wait for what must come. Costs nothing when it comes; 60 s unless said.
    fn patience(&self) -> Duration {
        Duration::from_secs(60)
    }

    /// How long nothing must be seen before the suite believes that nothing comes. Costs its whole length; half a
    /// second unless said.
    fn silence(&self) -> Duration {
        Duration::from_millis(500)
    }
}
