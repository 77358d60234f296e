//! FC-56, and logins: what keeps us from a broker is a typed error at start that says what to change, and shows no secret.

use crate::a_secured_broker::SecuredBroker;
use rdkafka::ClientConfig;
use std::{
    error::Error as _,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};
use throughline::{
    BoxError, Capacity, Demand, Error, ErrorKind, Message, Publisher, Source, Subscription, Telemetry,
    kafka::{Kafka, OauthToken},
};
use throughline_tests::{until, within};

/// The ten seconds that a start may take, and what a busy machine adds. Where nothing else runs, all were measured to
/// be told within 5.7 s.
const AT_START: Duration = Duration::from_secs(13);

async fn subscribe(kafka: &Kafka) -> Result<(), Error> {
    let (control, demand) = Demand::new(Capacity { messages: 1, bytes: 1 << 20 });
    let source = kafka.group("g").topic("t").subscribe(demand, Arc::new(())).await?;
    control.stop();
    source.close(Instant::now() + AT_START).await
}

async fn send(kafka: &Kafka) -> Result<(), Error> {
    let publisher = Publisher::with_telemetry(kafka.topic("t"), &Telemetry::off());
    let sent = publisher.send(Message::new("x")).await;
    sent.map(drop).map_err(|error| *error.downcast::<Error>().unwrap())
}

/// Both directions are open.
async fn goes(what: &str, kafka: &Kafka) {
    within(what, subscribe(kafka)).await.unwrap();
    within(what, send(kafka)).await.unwrap();
}

/// Both directions are refused in time, with errors of this kind that say this and keep secrets. Gives what they say.
async fn refused(kafka: Kafka, kind: ErrorKind, says: &str) -> String {
    let began = Instant::now();
    let (consumer, producer) = tokio::join!(subscribe(&kafka), send(&kafka));
    assert!(began.elapsed() < AT_START, "{says}: {:?}", began.elapsed());
    let errors = [consumer.unwrap_err(), producer.unwrap_err()];
    for error in &errors {
        assert_eq!(error.kind(), kind, "{error:?}");
        assert!(error.to_string().contains(says), "{error:?}");
        let all = format!("{error} {error:?} {:?} {kafka:?}", error.source());
        assert!(!all.contains("secret"), "{all}");
    }
    errors[0].to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_fault_of_tls_has_an_error_of_its_own() {
    let broker = SecuredBroker::start().await;
    let tls = |listener| Kafka::new(broker.address(listener)).set("security.protocol", "ssl");
    let trusting = |listener| tls(listener).set("ssl.ca.location", broker.authority());
    goes("TLS", &trusting("TLS")).await;

    let (untrusted, unnamed) = (tls("TLS").set("ssl.ca.location", broker.other_authority()), tls("TLS"));
    let missing = tls("TLS").set("ssl.ca.location", "/no/such/authority.pem");
    let (no_tls_there, tls_there) = (trusting("PLAINTEXT"), Kafka::new(broker.address("TLS")));
    let said = tokio::join!(
        refused(untrusted, ErrorKind::Denied, "ssl.ca.location"),
        refused(no_tls_there, ErrorKind::Config, "speaks no TLS"),
        refused(tls_there, ErrorKind::Config, "this port is for TLS"),
        refused(missing, ErrorKind::Config, "ssl.ca.location"),
        // The system's authorities were found, and did not sign ours.
        refused(unnamed, ErrorKind::Denied, "ssl.ca.location"),
    );
    let mut said = [said.0, said.1, said.2, said.3];
    said.sort();
    assert!(said.windows(2).all(|pair| pair[0] != pair[1]), "{said:?}");
}

/// A token as the broker takes it in tests: signed by nobody.
fn token(name: &str, life: Duration) -> OauthToken {
    let now = SystemTime::now();
    let seconds = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let claims =
        format!("{{\"sub\":\"{name}\",\"iat\":{},\"exp\":{}}}", seconds(now) - 1, seconds(now + life));
    OauthToken::new(format!("{}.{}.", base64("{\"alg\":\"none\"}"), base64(&claims)), name, now + life)
}

/// For URLs, without padding.
fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let digits = text.as_bytes().chunks(3).flat_map(|three| {
        let bits =
            three.iter().enumerate().fold(0_u32, |bits, (n, byte)| bits | u32::from(*byte) << (16 - 8 * n));
        (0..=three.len()).map(move |n| char::from(DIGITS[(bits >> (18 - 6 * n) & 63) as usize]))
    });
    digits.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_is_taken_or_denied() {
    let broker = SecuredBroker::start().await;
    let login = |mechanism: &str| {
        let kafka = Kafka::new(broker.address("LOGIN")).set("security.protocol", "sasl_plaintext");
        kafka.set("sasl.mechanism", mechanism)
    };
    let bob = |password| login("PLAIN").set("sasl.username", "bob").set("sasl.password", password);
    goes("PLAIN", &bob("bob-secret")).await;

    // The user's own configuration, over TLS.
    let mut own = ClientConfig::new();
    own.set("bootstrap.servers", broker.address("BOTH"))
        .set("security.protocol", "sasl_ssl")
        .set("ssl.ca.location", broker.authority())
        .set("sasl.mechanisms", "SCRAM-SHA-256")
        .set("sasl.username", "carol")
        .set("sasl.password", "carol-secret");
    goes("SCRAM over TLS", &Kafka::from_config(&own)).await;
    own.set("sasl.password", "not her secret");

    let asked = Arc::<AtomicU32>::default();
    let counted = asked.clone();
    let dave = login("OAUTHBEARER").oauth_token(move || {
        counted.fetch_add(1, Ordering::SeqCst);
        async {
            tokio::task::yield_now().await;
            Ok(token("dave", Duration::from_secs(3)))
        }
    });
    goes("OAUTHBEARER", &dave).await;
    let before = asked.load(Ordering::SeqCst);
    until("the producer asks for the next token", || asked.load(Ordering::SeqCst) > before).await;
    assert_eq!(dave.admin().create_topic("u", 1).await.unwrap_err().kind(), ErrorKind::Unsupported);

    let no_token = || async { Err::<OauthToken, _>(BoxError::from("the identity provider is away")) };
    let foreign = || async { Ok(OauthToken::new("secret.token.", "dave", SystemTime::now() + AT_START)) };
    tokio::join!(
        refused(bob("not his secret"), ErrorKind::Denied, "sasl.password"),
        refused(Kafka::from_config(&own), ErrorKind::Denied, "sasl.password"),
        refused(login("OAUTHBEARER").oauth_token(no_token), ErrorKind::Denied, "sasl."),
        refused(login("OAUTHBEARER").oauth_token(foreign), ErrorKind::Denied, "sasl."),
        refused(login("OAUTHBEARER"), ErrorKind::Config, ".oauth_token(..)"),
        refused(
            login("SCRAM-SHA-512").set("sasl.username", "carol").set("sasl.password", "carol-secret"),
            ErrorKind::Config,
            "sasl.mechanism"
        ),
        // A login is wanted, and none is tried.
        refused(Kafka::new(broker.address("LOGIN")), ErrorKind::Config, "wants a login"),
    );
}
