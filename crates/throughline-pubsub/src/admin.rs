//! Makes topics and subscriptions: for examples and tests, and for services that bring their own.

use crate::{
    PubSub,
    errors::{self, Action},
    names::Kind,
};
use google_cloud_gax::error::{Error as GaxError, rpc::Code};
use google_cloud_pubsub::model::{DeadLetterPolicy, RetryPolicy};
use google_cloud_wkt::Duration as Span;
use std::time::Duration;
use throughline_core::{Error, ErrorKind};

/// A subscription to be made. What is not said is as Pub/Sub has it: leases of 10 s, no order, no dead letters, a nack comes
/// again at once.
///
/// ```no_run
/// # async fn example() -> Result<(), throughline_core::Error> {
/// use std::time::Duration;
/// use throughline_pubsub::{NewSubscription, PubSub};
///
/// let pubsub = PubSub::from_env();
/// for topic in ["orders", "orders-dead"] {
///     pubsub.create_topic(topic).await?;
/// }
/// let workers = NewSubscription::new("orders-work", "orders").ordering(true).dead_letter("orders-dead", 5);
/// pubsub.create_subscription(&workers).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct NewSubscription {
    name: String,
    topic: String,
    lease: Duration,
    ordering: bool,
    exactly_once: bool,
    filter: String,
    dead_letter: Option<(String, i32)>,
    retry: Option<(Duration, Duration)>,
}

impl NewSubscription {
    /// Of this name to this topic, each short or full.
    pub fn new(name: impl Into<String>, topic: impl Into<String>) -> Self {
        NewSubscription {
            name: name.into(),
            topic: topic.into(),
            lease: Duration::from_secs(10),
            ordering: false,
            exactly_once: false,
            filter: String::new(),
            dead_letter: None,
            retry: None,
        }
    }

    /// For how long a message is leased without a sign of life: whole seconds, 10 to 600.
    #[must_use]
    pub fn lease(mut self, time: Duration) -> Self {
        self.lease = time;
        self
    }

    /// Whether messages of one ordering key come in order.
    #[must_use]
    pub fn ordering(mut self, yes: bool) -> Self {
        self.ordering = yes;
        self
    }

    /// Whether acknowledgements are confirmed, and an acknowledged message does not come again.
    #[must_use]
    pub fn exactly_once(mut self, yes: bool) -> Self {
        self.exactly_once = yes;
        self
    }

    /// Only what matches: <https://cloud.google.com/pubsub/docs/subscription-message-filter>.
    #[must_use]
    pub fn filter(mut self, filter: impl Into<String>) -> Self {
        self.filter = filter.into();
        self
    }

    /// What was delivered this often, from 5 to 100, goes to that topic. Pub/Sub's own account has to be allowed to publish
    /// there; deliveries are counted from then on.
    #[must_use]
    pub fn dead_letter(mut self, topic: impl Into<String>, deliveries: i32) -> Self {
        self.dead_letter = Some((topic.into(), deliveries));
        self
    }

    /// How long Pub/Sub waits before it delivers again, at first and at most: up to 600 s.
    #[must_use]
    pub fn retry(mut self, shortest: Duration, longest: Duration) -> Self {
        self.retry = Some((shortest, longest));
        self
    }
}

impl PubSub {
    /// Makes a topic. One that is there already is left as it is.
    ///
    /// # Errors
    /// What keeps us from it, with the topic's full name.
    pub async fn create_topic(&self, name: &str) -> Result<(), Error> {
        let topic = self.full_name(Kind::Topic, name)?;
        let client = self.connector()?.topics(&topic).await?;
        made(client.create_topic().set_name(&topic).send().await, Action::CreateTopic, &topic)
    }

    /// Makes a subscription. One that is there already is left as it is.
    ///
    /// # Errors
    /// What keeps us from it, with the subscription's full name: `NotFound` if its topic, or that of its dead letters, is
    /// not there, `Config` for a setting that Pub/Sub does not take.
    pub async fn create_subscription(&self, new: &NewSubscription) -> Result<(), Error> {
        let name = self.full_name(Kind::Subscription, &new.name)?;
        let dead_letter = new.dead_letter.as_ref().map(|(topic, deliveries)| {
            let policy = DeadLetterPolicy::new().set_max_delivery_attempts(*deliveries);
            Ok(policy.set_dead_letter_topic(self.full_name(Kind::Topic, topic)?))
        });
        let retry = new.retry.map(|(shortest, longest)| {
            let policy = RetryPolicy::new().set_minimum_backoff(span(shortest)?);
            Ok(policy.set_maximum_backoff(span(longest)?))
        });
        let lease = i32::try_from(new.lease.as_secs()).map_err(|_| bad("lease"))?;
        let client = self.connector()?.subscriptions(&name).await?;
        let request = client
            .create_subscription()
            .set_name(&name)
            .set_topic(self.full_name(Kind::Topic, &new.topic)?)
            .set_ack_deadline_seconds(lease)
            .set_enable_message_ordering(new.ordering)
            .set_enable_exactly_once_delivery(new.exactly_once)
            .set_filter(&new.filter)
            .set_or_clear_dead_letter_policy(dead_letter.transpose()?)
            .set_or_clear_retry_policy(retry.transpose()?);
        made(request.send().await, Action::CreateSubscription, &name)
    }
}

fn span(time: Duration) -> Result<Span, Error> {
    Span::try_from(time).map_err(|error| bad("retry").with_source(error))
}

fn bad(setting: &str) -> Error {
    Error::new(ErrorKind::Config, setting, "longer than Pub/Sub can be told: 600 s at most")
}

fn made<T>(made: Result<T, GaxError>, action: Action, name: &str) -> Result<(), Error> {
    match made {
        Err(error) if error.status().is_none_or(|status| status.code != Code::AlreadyExists) => {
            Err(errors::from_gax(&error, action, name))
        }
        _ => Ok(()),
    }
}
