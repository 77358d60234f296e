//! Asks about a subscription: whether it is there, and what it is like.

use crate::{
    connect::Connector,
    errors::{self, Action},
};
use google_cloud_gax::{options::RequestOptionsBuilder, retry_policy::NeverRetry};
use google_cloud_pubsub::{client::SubscriptionAdmin, model::Subscription};
use std::time::Duration;
use throughline_core::{Error, ErrorKind};
use tokio::time::timeout;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is known of a subscription before anything is received.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// The full name of its topic.
    pub(crate) topic: Option<String>,
    /// Whether it keeps the order of keys; assumed where it is not known.
    pub(crate) ordered: bool,
    /// After so many deliveries a message goes to its dead-letter topic.
    pub(crate) deliveries: Option<i32>,
    /// How long the service itself waits before it delivers a nacked message again, at most.
    pub(crate) longest_wait: Duration,
}

/// Who may be asked. `None` within for those who must not ask, or brought a client of their own: they cannot.
#[derive(Debug)]
pub(crate) struct Asking {
    connector: Connector,
    name: String,
    client: Option<SubscriptionAdmin>,
    may_ask: bool,
}

/// What was found.
#[derive(Debug)]
pub(crate) enum Found {
    There(Box<Subscription>),
    Away(Error),
    /// It cannot be asked.
    Unknown,
}

impl Asking {
    pub(crate) fn new(connector: Connector, name: String) -> Self {
        let may_ask = !connector.has_own_subscriber();
        Asking { connector, name, client: None, may_ask }
    }

    /// Asks once. Who got no answer connects anew the next time: a connection may be dead and not know it.
    pub(crate) async fn ask(&mut self) -> Found {
        if !self.may_ask {
            return Found::Unknown;
        }
        let client = match self.client.take() {
            Some(client) => client,
            None => match self.connector.subscriptions(&self.name).await {
                Ok(client) => client,
                Err(error) => return Found::Away(error),
            },
        };
        let call = client.get_subscription().set_subscription(&self.name).with_retry_policy(NeverRetry);
        let error = match timeout(PATIENCE, call.send()).await {
            Ok(Ok(subscription)) => {
                self.client = Some(client);
                return Found::There(Box::new(subscription));
            }
            Ok(Err(error)) => errors::from_gax(&error, Action::GetSubscription, &self.name),
            Err(_) => errors::no_answer(Action::GetSubscription, &self.name),
        };
        match error.kind() {
            // To consume it is another permission than to look at it.
            ErrorKind::Denied if error.remedy().contains("pubsub.subscriptions.get") => {
                tracing::debug!(
                    subscription = self.name,
                    "it may not be looked at; it is consumed all the same"
                );
                self.may_ask = false;
                Found::Unknown
            }
            _ => Found::Away(error),
        }
    }

    /// The first time: a subscription that cannot be pulled from is found before it is tried.
    pub(crate) async fn know(&mut self) -> Result<Known, Error> {
        match self.ask().await {
            Found::There(subscription) => Known::of(&subscription, &self.name),
            Found::Away(error) => Err(error),
            Found::Unknown => Ok(Known { ordered: true, ..Known::default() }),
        }
    }
}

impl Known {
    fn of(subscription: &Subscription, name: &str) -> Result<Self, Error> {
        let pushes = subscription.push_config.as_ref().is_some_and(|push| !push.push_endpoint.is_empty());
        let exports = subscription.bigquery_config.is_some() || subscription.cloud_storage_config.is_some();
        if pushes || exports || subscription.detached {
            let remedy = "the subscription cannot be pulled from: it pushes, exports, or is detached";
            return Err(Error::new(ErrorKind::Config, name, remedy));
        }
        let longest = |policy: &google_cloud_pubsub::model::RetryPolicy| {
            policy.maximum_backoff.and_then(|time| Duration::try_from(time).ok())
        };
        let deliveries = subscription.dead_letter_policy.as_ref().map(|policy| policy.max_delivery_attempts);
        Ok(Known {
            topic: Some(subscription.topic.clone()).filter(|topic| !topic.is_empty()),
            ordered: subscription.enable_message_ordering,
            deliveries: deliveries.filter(|most| *most > 0),
            longest_wait: subscription.retry_policy.as_ref().and_then(longest).unwrap_or_default(),
        })
    }
}
