//! Where a cluster is and how to speak to it.

use crate::{
    Admin, KafkaSink, KafkaSubscription, OauthToken,
    client::{errors, oauth::Tokens, security},
    produce::producer::ProducerSlot,
};
use rdkafka::{ClientConfig, config::RDKafkaLogLevel};
use std::{collections::BTreeMap, fmt, future::Future, sync::Arc};
use throughline_core::{BoxError, ByteString, Destination, Error, ErrorKind};

/// The value of `messaging.system`.
const SYSTEM: &str = "kafka";

/// Ours, for both directions, unless the user set them.
const DEFAULTS: [(&str, &str); 2] = [("client.id", "throughline"), ("reconnect.backoff.max.ms", "1000")];

const CONSUMER_DEFAULTS: [(&str, &str); 8] = [
    // The default of a second lets a fast consumer run dry between two fetches.
    ("fetch.queue.backoff.ms", "5"),
    ("queued.max.messages.kbytes", "16384"),
    ("queued.min.messages", "10000"),
    ("fetch.max.bytes", "8388608"),
    // Lag, and the end of a log behind what it leaves out, are known from nowhere else.
    ("statistics.interval.ms", "1000"),
    ("enable.partition.eof", "false"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
];

const PRODUCER_DEFAULTS: [(&str, &str); 6] = [
    ("enable.idempotence", "true"),
    ("acks", "all"),
    ("linger.ms", "5"),
    ("partitioner", "murmur2_random"),
    ("message.timeout.ms", "120000"),
    // How long a topic that does not exist is hoped for.
    ("topic.metadata.propagation.max.ms", "10000"),
];

/// In place of some of these: a message may not be under way for longer than its transaction.
const TRANSACTIONAL_DEFAULTS: [(&str, &str); 2] =
    [("transaction.timeout.ms", "60000"), ("message.timeout.ms", "60000")];

/// Properties that would break a promise: the values that are allowed (none: not at all), and why.
const FORBIDDEN: [(&str, &[&str], &str); 9] = [
    ("enable.auto.commit", &["false"], "it commits messages that are not done; leave it out"),
    ("enable.auto.offset.store", &["false"], "it commits messages that are not done; leave it out"),
    ("auto.commit.interval.ms", &[], "nothing is committed automatically; use `.commit_interval(..)`"),
    ("auto.commit.enable", &["false"], "it commits messages that are not done; leave it out"),
    ("group.id", &[], "name the group with `.group(..)`"),
    ("delivery.report.only.error", &["false"], "a send could not tell that it succeeded; leave it out"),
    ("acks", &["all", "-1", "1"], "without an acknowledgement a receipt means nothing; use `all`"),
    (
        "request.required.acks",
        &["all", "-1", "1"],
        "without an acknowledgement a receipt means nothing; use `all`",
    ),
    ("transactional.id", &[], "say it with `.exactly_once(..)` of a subscription"),
];

/// A Kafka cluster: the factory of its subscriptions and sinks.
///
/// Cheap to clone. All sinks of one handle and its clones share one producer, made at the first send.
///
/// Settings are librdkafka's own properties. Those that would break a promise of this crate (`enable.auto.commit`) are
/// refused with a [`Config`](ErrorKind::Config) error when the subscription or the sink is first used, as are unknown
/// properties and malformed servers. Values are never shown by `Debug`.
#[derive(Clone)]
pub struct Kafka {
    properties: Arc<BTreeMap<String, String>>,
    tokens: Option<Tokens>,
    producer: Arc<ProducerSlot>,
}

/// A consumer group on a cluster: choose its topics next.
#[derive(Clone, Debug)]
pub struct KafkaGroup {
    kafka: Kafka,
    group: String,
}

impl Kafka {
    /// The cluster behind these servers, as `host:port`, several separated by commas.
    pub fn new(servers: impl Into<String>) -> Self {
        Kafka::with_properties(BTreeMap::from([("bootstrap.servers".to_owned(), servers.into())]))
    }

    /// With all that a configuration of your own says. Where it says nothing, our defaults hold.
    pub fn from_config(config: &ClientConfig) -> Self {
        // `config_map` would hide the secrets that are needed to connect.
        let names: Vec<String> = config.config_map().into_keys().map(str::to_owned).collect();
        let value = |name: String| config.get(&name).map(str::to_owned).map(|value| (name, value));
        Kafka::with_properties(names.into_iter().filter_map(value).collect())
    }

    fn with_properties(properties: BTreeMap<String, String>) -> Self {
        Kafka { properties: Arc::new(properties), tokens: None, producer: Arc::default() }
    }

    /// Sets any property of librdkafka. Sinks made before keep their producer and its settings.
    #[must_use]
    pub fn set(mut self, property: impl Into<String>, value: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.properties).insert(property.into(), value.into());
        Kafka { producer: Arc::default(), ..self }
    }

    /// Where tokens for SASL OAUTHBEARER come from: asked at the start of each client, and again when four fifths of a
    /// token's life are over. What an error of the function says is shown; a token never is.
    ///
    /// What the future waits for is driven by the runtime on which this is called. The client's thread waits for it
    /// meanwhile, for 10 s at most. [`Admin`] cannot log in this way.
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    /// use throughline_kafka::{Kafka, OauthToken};
    ///
    /// let kafka = Kafka::new("kafka.example:9093")
    ///     .set("security.protocol", "sasl_ssl")
    ///     .set("sasl.mechanism", "OAUTHBEARER")
    ///     .oauth_token(|| async {
    ///         let token = "from your identity provider";
    ///         Ok(OauthToken::new(token, "my-service", SystemTime::now() + Duration::from_secs(300)))
    ///     });
    /// # drop(kafka);
    /// ```
    #[must_use]
    pub fn oauth_token<F, Fut>(self, next: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<OauthToken, BoxError>> + Send + 'static,
    {
        Kafka { tokens: Some(Tokens::new(next)), producer: Arc::default(), ..self }
    }

    /// Joins this consumer group.
    pub fn group(&self, group: impl Into<String>) -> KafkaGroup {
        KafkaGroup { kafka: self.clone(), group: group.into() }
    }

    /// Sends to this topic.
    pub fn topic(&self, topic: impl Into<String>) -> KafkaSink {
        KafkaSink::new(self.clone(), self.destination(&topic.into(), None))
    }

    /// Creates and deletes topics, and asks where a group is.
    pub fn admin(&self) -> Admin {
        Admin::new(self.clone())
    }

    pub(crate) fn tokens(&self) -> Option<&Tokens> {
        self.tokens.as_ref()
    }

    pub(crate) fn producer(&self) -> &Arc<ProducerSlot> {
        &self.producer
    }

    pub(crate) fn property(&self, name: &str) -> Option<&str> {
        self.properties.get(name).map(String::as_str)
    }

    pub(crate) fn servers(&self) -> &str {
        let listed = self.property("bootstrap.servers").or_else(|| self.property("metadata.broker.list"));
        listed.unwrap_or_default()
    }

    pub(crate) fn destination(&self, topic: &str, group: Option<&str>) -> Arc<Destination> {
        let mut destination = Destination::new(ByteString::from_static(SYSTEM), topic);
        destination.group = group.map(Into::into);
        destination.server = servers(self.servers()).ok().and_then(|all| all.into_iter().next());
        let client = self.properties.get("client.id").map_or(DEFAULTS[0].1, String::as_str);
        destination.client_id = Some(client.into());
        Arc::new(destination)
    }

    /// What both directions and the admin client start from.
    pub(crate) fn client_config(&self) -> Result<ClientConfig, Error> {
        servers(self.servers())?;
        let built_in = security::built_in();
        security::check(&self.properties, self.tokens.is_some(), &built_in)?;
        for (name, allowed, why) in FORBIDDEN {
            if self.properties.get(name).is_some_and(|value| !allowed.contains(&value.as_str())) {
                return Err(Error::new(ErrorKind::Config, name, why));
            }
        }
        let mut config = ClientConfig::new();
        // The client's own level follows the `log` crate, which most programs here do not use. Why a server hangs up is said
        // on this level only.
        config.set_log_level(RDKafkaLogLevel::Info);
        for (name, value) in &*self.properties {
            config.set(name, value);
        }
        self.defaults(&mut config, &DEFAULTS);
        if built_in.iter().any(|feature| feature == "ssl") {
            self.defaults(&mut config, &[("ssl.ca.location", "probe")]);
        }
        Ok(config)
    }

    pub(crate) fn consumer_config(&self) -> Result<ClientConfig, Error> {
        let mut config = self.client_config()?;
        self.defaults(&mut config, &CONSUMER_DEFAULTS);
        Ok(config)
    }

    pub(crate) fn producer_config(&self) -> Result<ClientConfig, Error> {
        let mut config = self.client_config()?;
        self.defaults(&mut config, &PRODUCER_DEFAULTS);
        config.create_native_config().map_err(|error| errors::of_config(error, self.servers(), &config))?;
        Ok(config)
    }

    pub(crate) fn transactional_config(&self) -> Result<ClientConfig, Error> {
        let mut config = self.producer_config()?;
        self.defaults(&mut config, &TRANSACTIONAL_DEFAULTS);
        Ok(config)
    }

    fn defaults(&self, config: &mut ClientConfig, defaults: &[(&str, &str)]) {
        for (name, value) in defaults {
            if !self.properties.contains_key(*name) && !aliases(name).any(|a| self.properties.contains_key(a))
            {
                config.set(*name, *value);
            }
        }
    }
}

impl KafkaGroup {
    /// Subscribes to this topic; a name that begins with `^` is a regular expression over topic names.
    pub fn topic(&self, topic: impl Into<String>) -> KafkaSubscription {
        self.topics([topic])
    }

    /// Subscribes to these topics.
    pub fn topics<T: Into<String>>(&self, topics: impl IntoIterator<Item = T>) -> KafkaSubscription {
        let topics = topics.into_iter().map(Into::into).collect();
        KafkaSubscription::new(self.kafka.clone(), self.group.clone(), topics)
    }
}

/// Other names that librdkafka has for a property of ours.
fn aliases(name: &str) -> impl Iterator<Item = &'static str> {
    let pairs = [
        ("linger.ms", "queue.buffering.max.ms"),
        ("acks", "request.required.acks"),
        ("message.timeout.ms", "delivery.timeout.ms"),
    ];
    pairs.into_iter().filter(move |(ours, _)| *ours == name).map(|(_, other)| other)
}

/// Takes `host:port,..` apart; the port may be left out, and a scheme may stand before.
fn servers(list: &str) -> Result<Vec<(ByteString, u16)>, Error> {
    let server = |entry: &str| {
        let bare = entry.trim();
        let bare = bare.split_once("://").map_or(bare, |(_, rest)| rest);
        let (host, port) = match bare.rsplit_once(':') {
            // A bare IPv6 address has colons of its own.
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
            _ => (bare, 9092),
        };
        let bracketed = host.starts_with('[') && host.ends_with(']');
        let clean = !host.is_empty() && (bracketed || !host.contains([' ', '/', ':', '@', '\0']));
        (clean && port != 0).then(|| (ByteString::from(host), port))
    };
    list.split(',').map(server).collect::<Option<Vec<_>>>().filter(|all| !all.is_empty()).ok_or_else(|| {
        Error::new(
            ErrorKind::Config,
            // Not the list: somebody may have put a password before a host.
            "bootstrap.servers",
            "`bootstrap.servers` wants host:port, several separated by commas",
        )
    })
}

impl fmt::Debug for Kafka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.properties.keys().map(String::as_str).collect();
        let servers = servers(self.servers()).ok();
        f.debug_struct("Kafka").field("servers", &servers).field("properties", &names).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(result: Result<ClientConfig, Error>) -> (ErrorKind, String) {
        let error = result.err().unwrap();
        (error.kind(), error.to_string())
    }

    #[test]
    fn servers_are_taken_apart_or_refused() {
        let of =
            |list| servers(list).map(|all| all.iter().map(|(h, p)| format!("{h}|{p}")).collect::<Vec<_>>());
        assert_eq!(of("a:1, b").unwrap(), ["a|1", "b|9092"]);
        assert_eq!(of("SASL_SSL://k.example:9093,[::1]:9094").unwrap(), ["k.example|9093", "[::1]|9094"]);
        for bad in [
            "",
            "a:",
            ":9092",
            "a:port",
            "a:99999",
            "a:0",
            "a,,b",
            "http://a/b:1",
            "::1:9092",
            "a b:1",
            "me:1,pw@a:1",
        ] {
            let (kind, text) = kind(Kafka::new(bad).consumer_config());
            assert_eq!(kind, ErrorKind::Config, "{bad}");
            assert!(text.contains("host:port"), "{text}");
        }
    }

    #[test]
    fn properties_that_break_a_promise_are_refused_by_name() {
        for (name, value) in
            [("enable.auto.commit", "true"), ("acks", "0"), ("group.id", "g"), ("transactional.id", "t")]
        {
            let (kind, text) = kind(Kafka::new("a:1").set(name, value).client_config());
            assert_eq!(kind, ErrorKind::Config);
            assert!(text.contains(name), "{text}");
        }
        let (kind, text) = kind(Kafka::new("a:1").set("no.such", "secret").producer_config());
        assert!(kind == ErrorKind::Config && text.contains("no.such") && !text.contains("secret"), "{text}");
    }

    #[test]
    fn the_users_own_values_win_also_under_another_name() {
        let kafka = Kafka::new("a:1").set("queue.buffering.max.ms", "1").set("fetch.queue.backoff.ms", "100");
        assert_eq!(kafka.producer_config().unwrap().get("linger.ms"), None);
        assert_eq!(kafka.consumer_config().unwrap().get("fetch.queue.backoff.ms"), Some("100"));
        assert_eq!(kafka.consumer_config().unwrap().get("enable.auto.commit"), Some("false"));
    }

    #[test]
    fn secrets_are_kept_to_connect_and_never_shown() {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", "a:1").set("sasl.password", "hunter2").set("my.token", "hunter2");
        let kafka = Kafka::from_config(&config);
        assert_eq!(kafka.client_config().unwrap().get("sasl.password"), Some("hunter2"));
        let shown = format!("{kafka:?} {:?} {:?}", kafka.group("g").topic("t"), kafka.topic("t"));
        assert!(!shown.contains("hunter2") && shown.contains("sasl.password"), "{shown}");
    }
}
