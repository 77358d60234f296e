//! Makes clients from what was set up.

use crate::errors::{self, Action};
use google_cloud_auth::credentials::{Builder, Credentials, anonymous};
use google_cloud_gax::retry_policy::RetryPolicyExt;
use google_cloud_pubsub::{
    client::{BasePublisher, Subscriber, SubscriptionAdmin, TopicAdmin},
    retry_policy::RetryableErrors,
};
use std::time::Duration;
use throughline_core::Error;

/// How long the client tries to send; its default of ten minutes is longer than a message's handler has.
const SEND: Duration = Duration::from_secs(60);

/// Where a server is and who we are there. Each client that it makes has a connection of its own.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    endpoint: String,
    pub(crate) credentials: Credentials,
    subscriber: Option<Subscriber>,
    publisher: Option<BasePublisher>,
}

impl Connector {
    /// For an emulator, which asks for none.
    pub(crate) fn without_credentials(endpoint: String) -> Self {
        let credentials = anonymous::Builder::new().build();
        Connector { endpoint, credentials, subscriber: None, publisher: None }
    }

    /// With these credentials, else the application default ones: `GOOGLE_APPLICATION_CREDENTIALS`, those of `gcloud`,
    /// the metadata server. To be called on the runtime that the clients are for: tokens are refreshed by a task of it.
    ///
    /// # Errors
    /// `Denied` if there is something that is not credentials where they are looked for.
    pub(crate) fn new(endpoint: String, credentials: Option<Credentials>) -> Result<Self, Error> {
        let credentials = match credentials {
            Some(credentials) => credentials,
            None => Builder::default().build().map_err(errors::no_credentials)?,
        };
        Ok(Connector { endpoint, credentials, subscriber: None, publisher: None })
    }

    /// With clients of the user's in place of those that would be made.
    pub(crate) fn with_own(
        mut self,
        subscriber: Option<Subscriber>,
        publisher: Option<BasePublisher>,
    ) -> Self {
        (self.subscriber, self.publisher) = (subscriber, publisher);
        self
    }

    /// What `credentials` are shown to, in place of those that were set up.
    pub(crate) fn with_credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = credentials;
        self
    }

    /// Whether the user brought the client of the streams; where that leads is not known here.
    pub(crate) fn has_own_subscriber(&self) -> bool {
        self.subscriber.is_some()
    }

    /// For the streams of a subscription.
    pub(crate) async fn subscriber(&self, subscription: &str) -> Result<Subscriber, Error> {
        if let Some(own) = &self.subscriber {
            return Ok(own.clone());
        }
        let builder = Subscriber::builder().with_endpoint(&self.endpoint);
        let built = builder.with_credentials(self.credentials.clone()).build().await;
        built.map_err(|error| errors::from_builder(error, Action::StreamingPull, subscription))
    }

    /// For the sends to a topic.
    pub(crate) async fn publisher(&self, topic: &str) -> Result<BasePublisher, Error> {
        if let Some(own) = &self.publisher {
            return Ok(own.clone());
        }
        let retries = RetryableErrors.with_time_limit(SEND);
        let builder = BasePublisher::builder().with_endpoint(&self.endpoint).with_retry_policy(retries);
        let built = builder.with_credentials(self.credentials.clone()).build().await;
        built.map_err(|error| errors::from_builder(error, Action::Publish, topic))
    }

    /// For what is asked of subscriptions.
    pub(crate) async fn subscriptions(&self, subscription: &str) -> Result<SubscriptionAdmin, Error> {
        let builder = SubscriptionAdmin::builder().with_endpoint(&self.endpoint);
        let built = builder.with_credentials(self.credentials.clone()).build().await;
        built.map_err(|error| errors::from_builder(error, Action::GetSubscription, subscription))
    }

    /// For what is asked of topics.
    pub(crate) async fn topics(&self, topic: &str) -> Result<TopicAdmin, Error> {
        let builder = TopicAdmin::builder().with_endpoint(&self.endpoint);
        let built = builder.with_credentials(self.credentials.clone()).build().await;
        built.map_err(|error| errors::from_builder(error, Action::GetTopic, topic))
    }
}
