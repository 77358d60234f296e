//! What to consume, and how.

use crate::{Sqs, SqsSource};
use std::time::Duration;
use throughline_core::{Capacity, Demand, Error, ErrorKind, Observer, Redelivery, Subscription};

/// The longest poll of SQS.
const LONGEST_WAIT: Duration = Duration::from_secs(20);
/// The longest time that SQS hides a message for.
const LONGEST_VISIBILITY: Duration = Duration::from_secs(12 * 3600);

/// A queue to consume: made by [`Sqs::subscribe`](crate::Sqs::subscribe).
///
/// A worker holds as many messages as it may run handlers and no more: nothing is received that cannot be started. SQS
/// itself delivers a nacked message again ([`Redelivery::Broker`]).
#[derive(Clone, Debug)]
pub struct SqsSubscription {
    pub(crate) sqs: Sqs,
    pub(crate) queue: String,
    pub(crate) settings: Settings,
}

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) wait: Duration,
    pub(crate) visibility: Option<Duration>,
    pub(crate) pollers: usize,
    pub(crate) only: Option<Vec<String>>,
    pub(crate) base64: bool,
    pub(crate) unwrap_sns: bool,
}

impl SqsSubscription {
    pub(crate) fn new(sqs: Sqs, queue: String) -> Self {
        let settings = Settings {
            wait: LONGEST_WAIT,
            visibility: None,
            pollers: 16,
            only: None,
            base64: false,
            unwrap_sns: true,
        };
        SqsSubscription { sqs, queue, settings }
    }

    /// How long a poll waits for a message, in whole seconds; default and most are 20 s. A poll that is open runs to its
    /// end, so an idle worker takes up to so long to stop (or as long as its grace lets it).
    #[must_use]
    pub fn wait(mut self, wait: Duration) -> Self {
        self.settings.wait = wait;
        self
    }

    /// For how long a message is hidden from others without a sign of life, from 2 s to 12 h; default what the queue
    /// says, else 30 s. It is extended at half of that until the message is settled, for at most 12 h.
    #[must_use]
    pub fn visibility(mut self, time: Duration) -> Self {
        self.settings.visibility = Some(time);
        self
    }

    /// How many polls may be open at once; default 16. A quiet queue has one, a full one as many as fill the worker.
    #[must_use]
    pub fn pollers(mut self, most: usize) -> Self {
        self.settings.pollers = most;
        self
    }

    /// Asks for these message attributes only (`name` or `prefix.*`); default all. What carries a trace context is asked
    /// for in any case.
    #[must_use]
    pub fn attributes<T: Into<String>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        self.settings.only = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Whether bodies are base64, as a sink with this setting writes them. A body that is not is delivered as it came.
    #[must_use]
    pub fn base64(mut self, yes: bool) -> Self {
        self.settings.base64 = yes;
        self
    }

    /// Whether a body that SNS wrapped is unwrapped: payload and headers are then those of the publisher. Default yes.
    /// Its trace context is read in either case.
    #[must_use]
    pub fn unwrap_sns(mut self, yes: bool) -> Self {
        self.settings.unwrap_sns = yes;
        self
    }

    fn check(&self) -> Result<(), Error> {
        let bad = |setting: &str, remedy: &str| Err(Error::new(ErrorKind::Config, setting, remedy));
        let Settings { wait, visibility, pollers, .. } = &self.settings;
        if *wait > LONGEST_WAIT || wait.subsec_nanos() > 0 {
            return bad("wait", "whole seconds, at most 20");
        }
        let fits = |time: Duration| (Duration::from_secs(2)..=LONGEST_VISIBILITY).contains(&time);
        if visibility.is_some_and(|time| !fits(time) || time.subsec_nanos() > 0) {
            return bad("visibility", "whole seconds, from 2 to 43,200");
        }
        if *pollers == 0 {
            return bad("pollers", "at least one poll has to be open");
        }
        Ok(())
    }
}

impl Subscription for SqsSubscription {
    type Source = SqsSource;

    /// # Errors
    /// `NotFound`, `Denied`, `Unreachable`, `Config` (no region, a setting out of its range): each names the call, the
    /// queue and the remedy.
    async fn subscribe(&self, demand: Demand, observer: Observer) -> Result<SqsSource, Error> {
        self.check()?;
        SqsSource::connect(self.clone(), demand, observer).await
    }

    fn redelivery(&self) -> Redelivery {
        Redelivery::Broker
    }

    fn capacity(&self, in_flight: usize) -> Capacity {
        Capacity { messages: in_flight, bytes: usize::MAX }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_their_range_are_named() {
        let queue = || Sqs::local("http://127.0.0.1:1").subscribe("q");
        for (subscription, name) in [
            (queue().wait(Duration::from_secs(21)), "wait"),
            (queue().wait(Duration::from_millis(1500)), "wait"),
            (queue().visibility(Duration::from_secs(1)), "visibility"),
            (queue().visibility(Duration::from_secs(43_201)), "visibility"),
            (queue().pollers(0), "pollers"),
        ] {
            let error = subscription.check().unwrap_err();
            assert_eq!((error.kind(), error.resource()), (ErrorKind::Config, name));
        }
        assert!(queue().wait(Duration::ZERO).visibility(LONGEST_VISIBILITY).check().is_ok());
        assert_eq!(queue().capacity(7).messages, 7, "nothing that cannot be started");
    }
}
