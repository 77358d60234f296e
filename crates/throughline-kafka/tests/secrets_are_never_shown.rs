//! Values of settings stay where they are needed: whatever goes wrong, nothing that is shown has one of them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests count as no test for clippy")]

use proptest::prelude::*;
use rdkafka::ClientConfig;
use std::{
    error::Error as StdError,
    future::{Future, poll_fn},
    sync::Arc,
    time::Duration,
};
use throughline_core::{Capacity, Demand, Error, Subscription};
use throughline_kafka::Kafka;
use tower_service::Service;

/// Where people put secrets, whether they belong there or not.
const PLACES: [&str; 18] = [
    "sasl.password",
    "sasl.username",
    "sasl.mechanism",
    "sasl.oauthbearer.config",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.token.endpoint.url",
    "security.protocol",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.certificate.pem",
    "ssl.ca.pem",
    "ssl.ca.location",
    "ssl.keystore.location",
    "ssl.keystore.password",
    "bootstrap.servers",
    "linger.ms",
    "group.protocol",
    "no.such.property",
];

/// Everything that is shown of an error.
fn shown(error: &Error) -> String {
    let mut text = format!("{error} {error:?} {}", error.resource());
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(" {cause} {cause:?}"));
        source = cause.source();
    }
    text
}

/// Every way in which a handle is shown or fails.
async fn everything(kafka: &Kafka) -> String {
    let brief = Duration::from_millis(20);
    let subscription = kafka.group("g").topic("t").connect_timeout(brief);
    let mut sink = kafka.topic("t");
    let mut text = format!("{kafka:?} {subscription:?} {sink:?} {:?}", kafka.admin());
    let (_control, demand) = Demand::new(Capacity { messages: 1, bytes: 1 });
    if let Err(error) = subscription.subscribe(demand, Arc::new(())).await {
        text.push_str(&shown(&error));
    }
    if let Err(error) = poll_fn(|cx| sink.poll_ready(cx)).await {
        text.push_str(&shown(&error));
    }
    text
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_error_and_no_debug_shows_a_value(
        places in proptest::collection::vec(proptest::sample::select(&PLACES[..]), 1..4),
        before in "[ -~]{0,3}",
        after in "[ -~]{0,3}",
        tls in any::<bool>(),
        own in any::<bool>(),
    ) {
        let secret = format!("{before}hunter2{after}");
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", "127.0.0.1:1").set("message.timeout.ms", "10");
        config.set("security.protocol", if tls { "sasl_ssl" } else { "sasl_plaintext" });
        config.set("sasl.mechanism", "PLAIN").set("sasl.username", "me").set("sasl.password", "mine");
        for place in places {
            // As people do it who have seen it elsewhere.
            let server = format!("me:{secret}@127.0.0.1:1");
            config.set(place, if place == "bootstrap.servers" { &server } else { &secret });
        }
        let kafka = if own {
            Kafka::from_config(&config)
        } else {
            let names: Vec<String> = config.config_map().into_keys().map(str::to_owned).collect();
            let set = |kafka: Kafka, name: &String| kafka.set(name, config.get(name).unwrap());
            names.iter().fold(Kafka::new(""), set)
        };
        let text = block_on(everything(&kafka));
        prop_assert!(!text.contains("hunter2"), "{text}");
    }
}
