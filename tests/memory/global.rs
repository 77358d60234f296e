//! What is set once for a process, on the embedded broker.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says that it failed by a panic")]

use throughline::memory::Memory;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_that_was_built_before_the_telemetry_traces() {
    let broker = Memory::new().retain(true);
    broker.create_topic("first", 1).unwrap();
    broker.create_topic("second", 1).unwrap();
    let subscription = |topic: &str| broker.subscribe(topic).group("g");
    throughline_tests::global::a_publisher_built_before_the_telemetry(
        [broker.topic("first"), broker.topic("second")],
        [subscription("first"), subscription("second")],
    )
    .await;
}
