//! Where SQS is and who we are there.

use crate::{SqsSink, SqsSubscription};
use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_sqs::{
    Client, Config,
    config::{Credentials, Region},
};
use std::{fmt, sync::Arc};
use throughline_core::{ByteString, Destination};
use tokio::sync::OnceCell;

/// The value of `messaging.system`.
const SYSTEM: &str = "aws_sqs";

/// An account and region of SQS: the factory of its subscriptions and sinks.
///
/// Cheap to clone; all clones share one client. The standard chain is asked at the first use: environment, profile (SSO
/// and `credential_process` too), web identity, container, instance metadata; `AWS_ENDPOINT_URL` and
/// `AWS_ENDPOINT_URL_SQS` are obeyed.
#[derive(Clone)]
pub struct Sqs {
    setup: Arc<Setup>,
    config: Arc<OnceCell<Config>>,
}

enum Setup {
    Standard,
    Shared(Box<SdkConfig>),
    Own(Client),
    Local(String),
}

impl Sqs {
    /// By the standard chain of AWS.
    pub fn from_env() -> Self {
        Sqs::with(Setup::Standard)
    }

    /// With a configuration of your own.
    pub fn from_config(config: &SdkConfig) -> Self {
        Sqs::with(Setup::Shared(Box::new(config.clone())))
    }

    /// With a client of your own. Its settings are kept; where it has no time-outs, calls get ours.
    pub fn from_client(client: Client) -> Self {
        Sqs::with(Setup::Own(client))
    }

    /// A server on this machine that takes any credentials (ElasticMQ, `LocalStack`), as `http://127.0.0.1:9324` or
    /// `127.0.0.1:9324`.
    pub fn local(endpoint: impl Into<String>) -> Self {
        let endpoint = endpoint.into();
        let with_scheme = if is_url(&endpoint) { endpoint } else { format!("http://{endpoint}") };
        Sqs::with(Setup::Local(with_scheme))
    }

    fn with(setup: Setup) -> Self {
        Sqs { setup: Arc::new(setup), config: Arc::default() }
    }

    /// Receives from this queue, given by its name or URL.
    pub fn subscribe(&self, queue: impl Into<String>) -> SqsSubscription {
        SqsSubscription::new(self.clone(), queue.into())
    }

    /// Sends to this queue, given by its name or URL.
    pub fn queue(&self, queue: impl Into<String>) -> SqsSink {
        SqsSink::new(self.clone(), queue.into())
    }

    /// What clients are made from.
    pub(crate) async fn config(&self) -> &Config {
        let load = || async {
            match &*self.setup {
                Setup::Standard => {
                    // Boxed: the chain's future is the largest of all.
                    Config::new(&Box::pin(aws_config::load_defaults(BehaviorVersion::latest())).await)
                }
                Setup::Shared(config) => Config::new(config),
                Setup::Own(client) => client.config().clone(),
                Setup::Local(endpoint) => Config::builder()
                    .behavior_version(BehaviorVersion::latest())
                    .region(Region::from_static("local"))
                    .credentials_provider(Credentials::new("local", "local", None, None, "local"))
                    .endpoint_url(endpoint)
                    .build(),
            }
        };
        self.config.get_or_init(load).await
    }
}

/// The name in a name or URL.
pub(crate) fn name_of(queue: &str) -> &str {
    if is_url(queue) { queue.trim_end_matches('/').rsplit('/').next().unwrap_or(queue) } else { queue }
}

pub(crate) fn is_url(queue: &str) -> bool {
    queue.starts_with("http://") || queue.starts_with("https://")
}

/// Whether it keeps order by group: its name says so.
pub(crate) fn is_fifo(queue: &str) -> bool {
    name_of(queue).ends_with(".fifo")
}

/// With its URL and the server of that, if it is given by one.
pub(crate) fn destination(queue: &str) -> Arc<Destination> {
    let mut destination = Destination::new(ByteString::from_static(SYSTEM), name_of(queue));
    if is_url(queue) {
        (destination.url, destination.server) = (Some(queue.into()), Destination::server_of(queue));
    }
    Arc::new(destination)
}

impl fmt::Debug for Sqs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let setup = match &*self.setup {
            Setup::Standard => "the standard chain",
            Setup::Shared(_) => "a configuration of the user's",
            Setup::Own(_) => "a client of the user's",
            Setup::Local(endpoint) => endpoint,
        };
        f.debug_tuple("Sqs").field(&setup).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_named_or_addressed() {
        let url = "https://sqs.eu-west-1.amazonaws.com/123456789012/orders.fifo";
        assert_eq!((name_of(url), name_of("orders")), ("orders.fifo", "orders"));
        assert!(is_fifo(url) && !is_fifo("orders"));
        assert_eq!(Destination::server_of(url), Some(("sqs.eu-west-1.amazonaws.com".into(), 443)));
        assert_eq!(Destination::server_of("http://127.0.0.1:9324/0/q"), Some(("127.0.0.1".into(), 9324)));
        assert_eq!(Destination::server_of("http://[::1]/q"), Some(("[::1]".into(), 80)));
        assert_eq!(destination("orders").server, None);
    }

    #[test]
    fn nothing_secret_is_shown() {
        let config = SdkConfig::builder().region(Region::from_static("eu-west-1")).build();
        assert_eq!(format!("{:?}", Sqs::from_config(&config)), "Sqs(\"a configuration of the user's\")");
    }
}
