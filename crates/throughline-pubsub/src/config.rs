//! Where Pub/Sub is and who we are there.

use crate::{
    PubSubSink, PubSubSubscription,
    connect::Connector,
    environment::{Environment, emulator_url},
    names::{self, Kind},
};
use google_cloud_auth::credentials::Credentials;
use google_cloud_pubsub::client::{BasePublisher, Subscriber};
use std::{fmt, sync::Arc};
use throughline_core::{ByteString, Destination, Error};

/// The value of `messaging.system`.
const SYSTEM: &str = "gcp_pubsub";
/// The service's own endpoint.
const SERVICE: &str = "https://pubsub.googleapis.com";

/// A project of Pub/Sub: the factory of its subscriptions and sinks.
///
/// Cheap to clone. Names may be short (`orders`, in this project) or full (`projects/other/topics/orders`). Who we are is
/// found by the application default credentials, unless said; with `PUBSUB_EMULATOR_HOST` (`host:port`) everything goes
/// to that emulator and no credentials are asked for. Clients are made at the first use, one for each source and sink, so
/// that they belong to the runtime that they are used on.
#[derive(Clone)]
pub struct PubSub {
    setup: Arc<Setup>,
}

#[derive(Clone, Default)]
struct Setup {
    environment: Environment,
    project: Option<String>,
    /// As it was written.
    emulator: Option<String>,
    endpoint: Option<String>,
    credentials: Option<Credentials>,
    subscriber: Option<Subscriber>,
    publisher: Option<BasePublisher>,
}

impl PubSub {
    /// The project that the environment names: `PUBSUB_PROJECT_ID`, `GOOGLE_CLOUD_PROJECT`, `GCLOUD_PROJECT` or
    /// `CLOUDSDK_CORE_PROJECT`. That none does is an error of the first use, and none where all names are full.
    pub fn from_env() -> Self {
        PubSub::with(Setup { environment: Environment::read(), ..Setup::default() })
    }

    /// This project.
    pub fn new(project: impl Into<String>) -> Self {
        PubSub::from_env().project(project)
    }

    /// An emulator (or any server that takes no credentials) at `host:port`, whatever the environment says.
    pub fn emulator(address: impl Into<String>, project: impl Into<String>) -> Self {
        let (emulator, project) = (Some(address.into()), Some(project.into()));
        PubSub::with(Setup { emulator, project, ..Setup::default() })
    }

    fn with(setup: Setup) -> Self {
        PubSub { setup: Arc::new(setup) }
    }

    /// Of this project.
    #[must_use]
    pub fn project(self, project: impl Into<String>) -> Self {
        self.change(|setup| setup.project = Some(project.into()))
    }

    /// At this endpoint, as `https://europe-west1-pubsub.googleapis.com`: a region's, or a private one. It counts before
    /// the environment's emulator.
    #[must_use]
    pub fn endpoint(self, url: impl Into<String>) -> Self {
        self.change(|setup| setup.endpoint = Some(url.into()))
    }

    /// With credentials of your own in place of the application default ones. They must belong to the runtime that the
    /// workers run on. An emulator is not shown them.
    #[must_use]
    pub fn with_credentials(self, credentials: impl Into<Credentials>) -> Self {
        self.change(|setup| setup.credentials = Some(credentials.into()))
    }

    /// With a subscriber client of your own: its endpoint and credentials then count for the streams. What is asked beside
    /// them (which topic a subscription has, whether the server is there) still goes by the other settings here.
    #[must_use]
    pub fn with_subscriber(self, client: Subscriber) -> Self {
        self.change(|setup| setup.subscriber = Some(client))
    }

    /// With a publisher client of your own: its endpoint, credentials and retries then count for the sinks.
    #[must_use]
    pub fn with_publisher(self, client: BasePublisher) -> Self {
        self.change(|setup| setup.publisher = Some(client))
    }

    fn change(mut self, change: impl FnOnce(&mut Setup)) -> Self {
        change(Arc::make_mut(&mut self.setup));
        self
    }

    /// Receives from this subscription, given by its short or full name.
    pub fn subscribe(&self, subscription: impl Into<String>) -> PubSubSubscription {
        PubSubSubscription::new(self.clone(), subscription.into())
    }

    /// Sends to this topic, given by its short or full name.
    pub fn topic(&self, topic: impl Into<String>) -> PubSubSink {
        PubSubSink::new(self.clone(), topic.into())
    }

    /// The name as the service wants it.
    ///
    /// # Errors
    /// `Config` if it is not one, or if it is short and no project is known.
    pub(crate) fn full_name(&self, kind: Kind, name: &str) -> Result<String, Error> {
        let setup = &self.setup;
        names::full(kind, name, || setup.project.as_deref().map_or_else(|| setup.environment.project(), Ok))
    }

    /// The URL of the emulator, where there is one.
    fn emulator_url(&self) -> Result<Option<String>, Error> {
        let setup = &self.setup;
        match (&setup.emulator, &setup.endpoint) {
            (Some(text), _) => emulator_url(text, "emulator").map(Some),
            (None, Some(_)) => Ok(None),
            (None, None) => setup.environment.emulator(),
        }
    }

    /// Makes clients.
    ///
    /// # Errors
    /// `Config` for an address that is not one, `Denied` where no credentials can be made.
    pub(crate) fn connector(&self) -> Result<Connector, Error> {
        let setup = &*self.setup;
        let connector = match self.emulator_url()? {
            Some(url) => Connector::without_credentials(url),
            None => {
                let endpoint = setup.endpoint.clone().unwrap_or_else(|| SERVICE.to_owned());
                Connector::new(endpoint, setup.credentials.clone())?
            }
        };
        Ok(connector.with_own(setup.subscriber.clone(), setup.publisher.clone()))
    }

    /// What is said of every message of a topic, and of a subscription to it.
    pub(crate) fn destination(&self, topic: &str, subscription: Option<&str>) -> Arc<Destination> {
        let mut destination = Destination::new(ByteString::from_static(SYSTEM), names::short(topic));
        destination.subscription = subscription.map(|name| names::short(name).into());
        let url = self.emulator_url().ok().flatten().or_else(|| self.setup.endpoint.clone());
        destination.server = Destination::server_of(url.as_deref().unwrap_or(SERVICE));
        Arc::new(destination)
    }
}

impl fmt::Debug for PubSub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Setup { environment, project, emulator, endpoint, .. } = &*self.setup;
        let project = project.as_deref().or_else(|| environment.project().ok());
        let mut shown = f.debug_struct("PubSub");
        shown.field("project", &project).field("emulator", emulator).field("endpoint", endpoint);
        shown.finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use throughline_core::ErrorKind;

    #[test]
    fn an_emulator_is_where_it_is_said_to_be() {
        let pubsub = PubSub::emulator("127.0.0.1:8085/", "p");
        assert_eq!(pubsub.emulator_url().unwrap().as_deref(), Some("http://127.0.0.1:8085"));
        let destination = pubsub.destination("projects/p/topics/t", Some("projects/p/subscriptions/s"));
        assert_eq!(destination.server, Some(("127.0.0.1".into(), 8085)));
        assert_eq!((&*destination.name, destination.subscription.as_deref()), ("t", Some("s")));
        let error = PubSub::emulator("nowhere", "p").emulator_url().unwrap_err();
        assert_eq!((error.kind(), error.resource()), (ErrorKind::Config, "emulator"));
    }

    #[test]
    fn an_endpoint_counts_before_the_environment() {
        let pubsub = PubSub::with(Setup::default()).project("p").endpoint("https://eu-pubsub.example");
        assert_eq!(pubsub.emulator_url().unwrap(), None);
        assert_eq!(pubsub.destination("t", None).server, Some(("eu-pubsub.example".into(), 443)));
        assert_eq!(pubsub.full_name(Kind::Topic, "t").unwrap(), "projects/p/topics/t");
    }
}
