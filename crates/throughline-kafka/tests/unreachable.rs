//! Servers that do not answer: a typed error in time, no hang, and no thread of the runtime held up.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests count as no test for clippy")]

use std::{
    future::poll_fn,
    net::TcpListener,
    sync::Arc,
    time::{Duration, Instant},
};
use throughline_core::{Capacity, Demand, Error, ErrorKind, Message, Subscription};
use throughline_kafka::{Kafka, KafkaSource};
use tower_service::Service;

async fn subscribe(servers: &str, patience: Duration) -> Result<KafkaSource, Error> {
    let (_control, demand) = Demand::new(Capacity { messages: 1, bytes: 1 });
    let subscription = Kafka::new(servers).group("g").topic("t").connect_timeout(patience);
    subscription.subscribe(demand, Arc::new(())).await
}

fn closed_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

#[tokio::test(flavor = "current_thread")]
async fn servers_that_do_not_answer_are_named_in_time() {
    // One refuses, the other takes the connection and never says a word.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    for servers in [closed_port(), mute.local_addr().unwrap().to_string()] {
        let began = Instant::now();
        let ticks = tokio::runtime::Handle::current().spawn(async {
            let mut longest = Duration::ZERO;
            loop {
                let before = Instant::now();
                tokio::time::sleep(Duration::from_millis(20)).await;
                longest = longest.max(before.elapsed());
                if longest > Duration::from_millis(500) {
                    return longest;
                }
            }
        });
        let error = subscribe(&servers, Duration::from_secs(1)).await.unwrap_err();
        assert_eq!((error.kind(), error.resource()), (ErrorKind::Unreachable, &*servers));
        assert!(error.to_string().contains("bootstrap.servers"), "{error}");
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        assert!(!ticks.is_finished(), "the runtime's thread was held up");
        ticks.abort();
    }
}

#[tokio::test]
async fn a_send_that_nobody_takes_times_out_with_a_word() {
    let kafka = Kafka::new(closed_port()).set("message.timeout.ms", "1000");
    let mut sink = kafka.topic("t");
    poll_fn(|cx| sink.poll_ready(cx)).await.unwrap();
    let error = sink.call(Message::new("x")).await.unwrap_err();
    assert_eq!((error.kind(), error.resource()), (ErrorKind::Timeout, "t"));
}

#[tokio::test]
async fn bad_settings_are_told_before_anything_is_tried() {
    for servers in ["", "localhost:port", "a b"] {
        let error = subscribe(servers, Duration::from_secs(60)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
    }
    let mut sink = Kafka::new("127.0.0.1:1").set("enable.auto.commit", "true").topic("t");
    let error = poll_fn(|cx| sink.poll_ready(cx)).await.unwrap_err();
    assert_eq!((error.kind(), error.resource()), (ErrorKind::Config, "enable.auto.commit"));
    let mut sink = Kafka::new("127.0.0.1:1").topic("t");
    assert!(sink.call(Message::new("x")).await.is_err(), "called before it was ready");
}
