//! An SQS server as a site.

use aws_sdk_sqs::{
    Client, Config,
    config::{BehaviorVersion, Builder, Credentials, Region},
    types::QueueAttributeName as Attribute,
};
use std::{collections::BTreeMap, time::Duration};
use throughline::{
    Error,
    sqs::{Sqs, SqsSink, SqsSubscription},
};
use throughline_test::conformance::{Broker, Features, Start};
use throughline_tests::Site;

/// The server that the test command started. Without one a test fails: it must not pass unseen.
pub(crate) fn endpoint() -> String {
    let address = std::env::var("THROUGHLINE_SQS").expect(
        "THROUGHLINE_SQS=host:port names the server; run `cargo xtask test`, which starts one and sets it",
    );
    format!("http://{address}")
}

/// What a client of that server is made from.
pub(crate) fn config_of(endpoint: &str) -> Builder {
    Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("local"))
        .credentials_provider(Credentials::new("local", "local", None, None, "test"))
        .endpoint_url(endpoint)
}

/// The same of the server that the test command started.
pub(crate) fn config() -> Builder {
    config_of(&endpoint())
}

/// A raw client of it.
pub(crate) fn client() -> Client {
    Client::from_conf(config().build())
}

/// The queues of one server.
pub(crate) struct Account {
    sqs: Sqs,
    raw: Client,
}

impl Account {
    pub(crate) fn new() -> Self {
        Account::at(&endpoint())
    }

    /// The one behind this URL.
    pub(crate) fn at(endpoint: &str) -> Self {
        let raw = Client::from_conf(config_of(endpoint).build());
        Account { sqs: Sqs::from_client(raw.clone()), raw }
    }

    /// A sink.
    pub(crate) fn queue(&self, queue: &str) -> SqsSink {
        self.sqs.queue(queue)
    }

    /// How many messages a queue has: visible, hidden, delayed.
    pub(crate) async fn counts(&self, queue: &str) -> [u64; 3] {
        let names = [
            Attribute::ApproximateNumberOfMessages,
            Attribute::ApproximateNumberOfMessagesNotVisible,
            Attribute::ApproximateNumberOfMessagesDelayed,
        ];
        let url = self.url(queue).await;
        let ask = self.raw.get_queue_attributes().queue_url(url).set_attribute_names(Some(names.to_vec()));
        let told = ask.send().await.unwrap().attributes.unwrap_or_default();
        names.map(|name| told.get(&name).map_or(0, |count| count.parse().unwrap()))
    }

    /// Lets what was received this often go to another queue.
    pub(crate) async fn redrive(&self, queue: &str, receives: u32, to: &str) {
        let arn = format!("arn:aws:sqs:elasticmq:000000000000:{to}");
        let policy = format!(r#"{{"maxReceiveCount":"{receives}","deadLetterTargetArn":"{arn}"}}"#);
        let set = self.raw.set_queue_attributes().queue_url(self.url(queue).await);
        set.attributes(Attribute::RedrivePolicy, policy).send().await.unwrap();
    }

    pub(crate) async fn url(&self, queue: &str) -> String {
        self.raw.get_queue_url().queue_name(queue).send().await.unwrap().queue_url.unwrap()
    }
}

impl Broker for Account {
    type Subscription = SqsSubscription;
    type Sink = SqsSink;

    fn features(&self) -> Features {
        Features { delay: true, delivery_count: true, reject: true, dead_letter: true, ..Features::default() }
    }

    async fn create_topic(&self, name: &str, _: u32) -> Result<(), Error> {
        self.sqs.create_queue(name, []).await.map(drop)
    }

    fn subscription(&self, topic: &str, _: &str, _: Start) -> SqsSubscription {
        // A stop waits for an open poll.
        self.sqs.subscribe(topic).wait(Duration::from_secs(1))
    }

    fn sink(&self, topic: &str) -> SqsSink {
        self.sqs.queue(topic)
    }
}

impl Site for Account {
    const NAME: &'static str = "sqs";

    const MANY: usize = 10_000;

    async fn committed(&self, _: &str, _: &str) -> BTreeMap<i32, i64> {
        BTreeMap::new()
    }

    async fn is_all_done(&self, topic: &str, _: &str, _: u64) -> bool {
        self.counts(topic).await == [0; 3]
    }
}
