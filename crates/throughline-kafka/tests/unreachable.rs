//! Servers that do not answer: a typed error in time, no hang, and no thread of the runtime held up.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests count as no test for clippy")]

use futures_util::poll;
use rdkafka::{
    mocking::MockCluster,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};
use std::{
    future::poll_fn,
    net::TcpListener,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};
use throughline_core::{Capacity, Demand, Error, ErrorKind, Message, Subscription};
use throughline_kafka::{Kafka, KafkaSink, KafkaSource, SendFuture};
use tower_service::Service;

/// Longer than anything here may take on a busy machine.
const LONG: Duration = Duration::from_secs(60);

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

/// Sends until the sink is not ready, and says how many it took.
async fn fill(sink: &mut KafkaSink, size: usize) -> Vec<SendFuture> {
    let mut sent = Vec::new();
    while poll!(pin!(poll_fn(|cx| sink.poll_ready(cx)))).is_ready() {
        sent.push(sink.call(Message::new(vec![0; size])));
    }
    sent
}

#[tokio::test]
async fn an_outage_fills_the_queue_up_to_its_bound_and_then_there_is_room_again() {
    for (property, bound, size, takes) in
        [("queue.buffering.max.messages", "20", 1, 10), ("queue.buffering.max.kbytes", "100", 20_000, 3)]
    {
        let kafka = Kafka::new(closed_port()).set("message.timeout.ms", "1000").set(property, bound);
        let mut sink = kafka.topic("t");
        let sent = fill(&mut sink, size).await;
        assert_eq!(sent.len(), takes, "{property}");
        // Woken by the first that is given up.
        tokio::time::timeout(LONG, poll_fn(|cx| sink.poll_ready(cx))).await.unwrap().unwrap();
        for sent in sent {
            assert_eq!(sent.await.unwrap_err().kind(), ErrorKind::Timeout);
        }
    }
}

#[tokio::test]
async fn a_fatal_error_is_told_to_all_and_the_next_sends_go_through_a_new_producer() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 1, 1).unwrap();
    // What an idempotent producer does not survive.
    let refusal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
    cluster.request_errors(RDKafkaApiKey::InitProducerId, &[refusal]);
    let kafka = Kafka::new(cluster.bootstrap_servers()).set("queue.buffering.max.messages", "20");
    let mut sink = kafka.topic("t");
    let mut waiting = sink.clone();
    let sent = fill(&mut sink, 1).await;
    assert!(poll!(pin!(poll_fn(|cx| waiting.poll_ready(cx)))).is_pending());
    for sent in sent {
        let error = tokio::time::timeout(LONG, sent).await.unwrap().unwrap_err();
        assert_eq!((error.kind(), error.resource()), (ErrorKind::Denied, "t"), "{error}");
    }
    // Also for one that waited for room in the old one.
    tokio::time::timeout(LONG, async {
        loop {
            poll_fn(|cx| waiting.poll_ready(cx)).await.unwrap();
            match waiting.call(Message::new("again")).await {
                Ok(receipt) => break assert_eq!(receipt.offset, Some(0)),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Denied, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .unwrap();
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
