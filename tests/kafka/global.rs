//! What is set once for a process, on a real Kafka.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says that it failed by a panic")]

use throughline_test::conformance::{Broker, Start};
use throughline_tests::kafka::Cluster;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_that_was_built_before_the_telemetry_traces() {
    let broker = Cluster::new();
    let topics = [broker.fresh_name("global"), broker.fresh_name("global")];
    for topic in &topics {
        broker.create_topic(topic, 1).await.unwrap();
    }
    throughline_tests::global::a_publisher_built_before_the_telemetry(
        topics.each_ref().map(|topic| broker.sink(topic)),
        topics.each_ref().map(|topic| broker.subscription(topic, "g", Start::Earliest)),
    )
    .await;
}
