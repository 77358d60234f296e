//! What to consume, and how.

use crate::{PubSub, PubSubSource};
use std::time::Duration;
use throughline_core::{Capacity, Demand, Error, ErrorKind, Observer, Redelivery, Subscription};

/// The shortest and the longest time that Pub/Sub leases a message for.
const LEASES: std::ops::RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_secs(600);

/// Which of two contexts counts where a message has both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContextOrder {
    /// `traceparent`, else `googclient_traceparent`.
    #[default]
    PlainFirst,
    /// `googclient_traceparent`, which Google's own clients write, else `traceparent`.
    GoogleFirst,
}

/// A subscription to consume: made by [`PubSub::subscribe`](crate::PubSub::subscribe).
#[derive(Clone, Debug)]
pub struct PubSubSubscription {
    pub(crate) pubsub: PubSub,
    pub(crate) name: String,
    pub(crate) settings: Settings,
}

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) streams: usize,
    pub(crate) buffer: Option<usize>,
    pub(crate) buffer_bytes: usize,
    pub(crate) lease: Duration,
    pub(crate) longest_lease: Duration,
    pub(crate) context: ContextOrder,
    pub(crate) topic: Option<String>,
}

impl PubSubSubscription {
    pub(crate) fn new(pubsub: PubSub, name: String) -> Self {
        let settings = Settings {
            streams: 4,
            buffer: None,
            buffer_bytes: 32 * 1024 * 1024,
            lease: Duration::from_secs(60),
            longest_lease: Duration::from_secs(3600),
            context: ContextOrder::default(),
            topic: None,
        };
        PubSubSubscription { pubsub, name, settings }
    }

    /// How many streams may be open at once; default 4. There is one, and more while it is the bottleneck. A subscription
    /// that keeps the order of keys has one, whatever is said here: two would bring a key's messages in either order.
    #[must_use]
    pub fn streams(mut self, most: usize) -> Self {
        self.settings.streams = most;
        self
    }

    /// How many messages beyond the running ones may be held: received and not started, or nacked with a delay that is
    /// not over. Default as many as run. The server is told not to send more, and no more is read from it.
    #[must_use]
    pub fn buffer(mut self, messages: usize) -> Self {
        self.settings.buffer = Some(messages);
        self
    }

    /// How many bytes may be held, running messages included; default 32 MiB. One message is always taken.
    #[must_use]
    pub fn buffer_bytes(mut self, bytes: usize) -> Self {
        self.settings.buffer_bytes = bytes;
        self
    }

    /// For how long a message is leased without a sign of life, from 10 s to 10 min; default 60 s. The lease is extended
    /// until the message is settled, from its receipt on.
    #[must_use]
    pub fn lease(mut self, time: Duration) -> Self {
        self.settings.lease = time;
        self
    }

    /// For how long a lease is extended in all; default 1 h. After that its handler is told, and the message comes again.
    #[must_use]
    pub fn longest_lease(mut self, time: Duration) -> Self {
        self.settings.longest_lease = time;
        self
    }

    /// Which context counts where a message has both; default the plain one.
    #[must_use]
    pub fn context_order(mut self, order: ContextOrder) -> Self {
        self.settings.context = order;
        self
    }

    /// What its topic is called in spans and metrics, where these credentials may consume the subscription and not look at
    /// it (`pubsub.subscriptions.get`). The subscription's own name stands there otherwise.
    #[must_use]
    pub fn topic(mut self, name: impl Into<String>) -> Self {
        self.settings.topic = Some(name.into());
        self
    }

    fn check(&self) -> Result<(), Error> {
        let bad = |setting: &str, remedy: &str| Err(Error::new(ErrorKind::Config, setting, remedy));
        let Settings { streams, lease, longest_lease, .. } = &self.settings;
        if *streams == 0 {
            return bad("streams", "at least one has to be open");
        }
        if !LEASES.contains(lease) || lease.subsec_nanos() > 0 {
            return bad("lease", "whole seconds, from 10 to 600");
        }
        if longest_lease < lease {
            return bad("longest_lease", "at least as long as `lease`");
        }
        Ok(())
    }
}

impl Subscription for PubSubSubscription {
    type Source = PubSubSource;

    /// # Errors
    /// `NotFound`, `Denied`, `Unreachable`, `Timeout`, `Config` (no project, a setting out of its range, a subscription
    /// that pushes): each names the subscription or the setting, and the remedy.
    async fn subscribe(&self, demand: Demand, observer: Observer) -> Result<PubSubSource, Error> {
        self.check()?;
        PubSubSource::connect(self.clone(), demand, observer).await
    }

    fn redelivery(&self) -> Redelivery {
        Redelivery::Broker
    }

    fn capacity(&self, in_flight: usize) -> Capacity {
        Capacity { messages: in_flight, bytes: self.settings.buffer_bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_their_range_are_named() {
        let subscription = || PubSub::emulator("127.0.0.1:1", "p").subscribe("s");
        let seconds = Duration::from_secs;
        for (subscription, name) in [
            (subscription().streams(0), "streams"),
            (subscription().lease(seconds(9)), "lease"),
            (subscription().lease(seconds(601)), "lease"),
            (subscription().lease(Duration::from_millis(10_500)), "lease"),
            (subscription().longest_lease(seconds(59)), "longest_lease"),
        ] {
            let error = subscription.check().unwrap_err();
            assert_eq!((error.kind(), error.resource()), (ErrorKind::Config, name));
        }
        assert!(subscription().lease(seconds(10)).longest_lease(seconds(10)).check().is_ok());
    }
}
