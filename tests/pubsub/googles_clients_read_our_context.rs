//! What Google's own clients read of what we send: contexts under their names, and attributes within the limits.

use crate::site::Project;
use std::collections::HashMap;
use throughline::{Error, ErrorKind, Message, Publisher};
use throughline_test::{Expect, Kind, SpanRef, conformance::Broker};
use throughline_tests::Stage;

/// A subscriber that knows `googclient_traceparent` alone is led to our send span, and so is one that knows the plain name;
/// on request there is only the plain one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_names_lead_to_the_send_span() {
    let broker = Project::new();
    let stage = Stage::new(&broker);
    let topic = stage.topic(1).await;
    stage.publisher(&topic).send(Message::new("both").with_header("own", "1").with_key("k")).await.unwrap();
    let plain = broker.sink(&topic).google_context(false);
    Publisher::with_telemetry(plain, &stage.telemetry).send(Message::new("plain")).await.unwrap();
    let mut came: HashMap<_, _> =
        broker.read(&topic, 2).await.into_iter().map(|raw| (raw.data.to_vec(), raw)).collect();
    let (both, plain) = (came.remove(&b"both"[..]).unwrap(), came.remove(&b"plain"[..]).unwrap());
    assert_eq!((&*both.ordering_key, &*both.attributes["own"]), ("k", "1"));
    assert_eq!(both.attributes["googclient_traceparent"], both.attributes["traceparent"]);
    assert_eq!((both.attributes.len(), plain.attributes.len()), (3, 1));
    let graph = stage.end().await;
    graph.check(&Expect::new().spans(2).sends(2).components(2)).unwrap();
    for context in [&both.attributes["googclient_traceparent"], &plain.attributes["traceparent"]] {
        assert_eq!(graph.get(identity(context)).expect("a span of ours").kind, Kind::Producer);
    }
}

fn identity(traceparent: &str) -> SpanRef {
    let parts: Vec<&str> = traceparent.split('-').collect();
    format!("{}-{}", parts[1], parts[2]).parse().unwrap()
}

/// With up to a hundred attributes of the user's own nothing fails to be sent, and what has no room goes; a hundred and one
/// are refused, and so is what is over ten megabytes, before anything is sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_injected_context_never_makes_a_send_fail() {
    let broker = Project::new();
    let stage = Stage::new(&broker);
    let topic = stage.topic(1).await;
    let publisher = stage.publisher(&topic);
    let message = |own: usize| {
        let message = Message::new(own.to_string());
        (0..own).fold(message, |message, n| message.with_header(format!("own-{n}"), "v".repeat(1024)))
    };
    for own in 97..=100 {
        assert!(publisher.send(message(own)).await.unwrap().id.is_some());
    }
    for refused in [message(101), Message::new(vec![b'x'; 10_000_000])] {
        let error = publisher.send(refused).await.unwrap_err().downcast::<Error>().unwrap();
        assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    }
    for raw in broker.read(&topic, 4).await {
        let own: usize = std::str::from_utf8(&raw.data).unwrap().parse().unwrap();
        let context = ["traceparent", "googclient_traceparent"].map(|name| raw.attributes.contains_key(name));
        assert_eq!((raw.attributes.len(), context), ((own + 2).min(100), [own < 100, own < 99]));
    }
    stage.end().await;
}
