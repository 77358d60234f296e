//! A Pub/Sub server as a site.

use crate::relay;
use google_cloud_auth::credentials::anonymous;
use google_cloud_pubsub::{
    client::{Publisher, Subscriber, SubscriptionAdmin, TopicAdmin},
    model::Message as Raw,
};
use std::{collections::BTreeMap, time::Duration};
use throughline::{
    Error,
    pubsub::{NewSubscription, PubSub, PubSubSink, PubSubSubscription},
};
use throughline_test::conformance::{Broker, Features, Start};
use throughline_tests::{Site, within};

/// Any name will do for an emulator.
const PROJECT: &str = "throughline";
/// Where the subscriptions' dead letters go, which makes the server count deliveries; nothing here is delivered so often.
const DEAD: &str = "delivered-too-often";
const OFTEN: i32 = 100;

/// Where the server is that the test command started, behind a relay that tells it of clients which are gone. Without one a
/// test fails: it must not pass unseen.
pub(crate) fn address() -> String {
    let server = std::env::var("THROUGHLINE_PUBSUB").expect(
        "THROUGHLINE_PUBSUB=host:port names the server; run `cargo xtask test`, which starts one and sets it",
    );
    relay::to(&server)
}

/// The topics of one server, each with one subscription.
pub(crate) struct Project {
    pub(crate) pubsub: PubSub,
    endpoint: String,
}

impl Project {
    pub(crate) fn new() -> Self {
        Project::at(&address())
    }

    /// The one at this address.
    pub(crate) fn at(address: &str) -> Self {
        Project { pubsub: PubSub::emulator(address, PROJECT), endpoint: format!("http://{address}") }
    }

    /// The short name of the subscription that a topic has.
    pub(crate) fn subscription_of(topic: &str) -> String {
        format!("{topic}-work")
    }

    /// As [`create_topic`](Broker::create_topic), but for what `change` says of its subscription.
    pub(crate) async fn create(
        &self,
        topic: &str,
        change: impl FnOnce(NewSubscription) -> NewSubscription,
    ) -> Result<(), Error> {
        self.pubsub.create_topic(topic).await?;
        let new = NewSubscription::new(Project::subscription_of(topic), topic);
        self.pubsub.create_subscription(&change(new)).await
    }

    /// Every message that a topic's subscription has, as the official client gives them, until it has so many.
    pub(crate) async fn read(&self, topic: &str, count: usize) -> Vec<Raw> {
        let client = Subscriber::builder().with_endpoint(&self.endpoint);
        let client = client.with_credentials(anonymous::Builder::new().build()).build().await.unwrap();
        let mut stream = client
            .subscribe(full("subscriptions", &Project::subscription_of(topic)))
            .set_max_lease_extension(Duration::from_secs(10))
            .build();
        let mut came = Vec::new();
        while came.len() < count {
            let (message, handler) = within("a message", stream.next()).await.unwrap().unwrap();
            handler.ack();
            came.push(message);
        }
        // Else what comes now would be leased to a stream that nobody reads.
        let ended = stream.shutdown_token();
        drop(stream);
        within("the end of the stream", ended.shutdown()).await;
        came
    }

    /// A raw client that publishes to a topic.
    pub(crate) async fn publisher(&self, topic: &str) -> Publisher {
        let client = Publisher::builder(full("topics", topic)).with_endpoint(&self.endpoint);
        client.with_credentials(anonymous::Builder::new().build()).build().await.unwrap()
    }

    /// A raw client of its topics.
    pub(crate) async fn topics(&self) -> TopicAdmin {
        let client = TopicAdmin::builder().with_endpoint(&self.endpoint);
        client.with_credentials(anonymous::Builder::new().build()).build().await.unwrap()
    }

    /// A raw client of its subscriptions.
    pub(crate) async fn subscriptions(&self) -> SubscriptionAdmin {
        let client = SubscriptionAdmin::builder().with_endpoint(&self.endpoint);
        client.with_credentials(anonymous::Builder::new().build()).build().await.unwrap()
    }
}

/// The full name of a topic or subscription.
pub(crate) fn full(collection: &str, name: &str) -> String {
    format!("projects/{PROJECT}/{collection}/{name}")
}

impl Broker for Project {
    type Subscription = PubSubSubscription;
    type Sink = PubSubSink;

    fn features(&self) -> Features {
        Features {
            delay: true,
            delivery_count: true,
            order_by_key: true,
            reject: true,
            dead_letter: true,
            ..Features::default()
        }
    }

    async fn create_topic(&self, name: &str, _: u32) -> Result<(), Error> {
        self.pubsub.create_topic(DEAD).await?;
        self.create(name, |new| new.ordering(true).dead_letter(DEAD, OFTEN)).await
    }

    fn subscription(&self, topic: &str, _: &str, _: Start) -> PubSubSubscription {
        // What was on its way to a stream that is closed comes again after this.
        self.pubsub.subscribe(Project::subscription_of(topic)).lease(Duration::from_secs(10))
    }

    fn sink(&self, topic: &str) -> PubSubSink {
        self.pubsub.topic(topic)
    }

    /// The emulator hands out every 50 ms, and again at the end of a lease.
    fn silence(&self) -> Duration {
        Duration::from_secs(1)
    }
}

impl Site for Project {
    const NAME: &'static str = "pubsub";

    const PROCESS: &'static str = "subscribe";

    const MANY: usize = 10_000;

    async fn committed(&self, _: &str, _: &str) -> BTreeMap<i32, i64> {
        BTreeMap::new()
    }

    /// Nobody can ask how many are left: what a scenario counts itself has to do.
    async fn is_all_done(&self, _: &str, _: &str, _: u64) -> bool {
        true
    }
}
