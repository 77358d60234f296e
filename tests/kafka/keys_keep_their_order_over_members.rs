//! G3 at its full size: order within a key while members join, some messages are tried again, and 1,000 are in flight.

use std::time::Duration;
use throughline::{Message, Telemetry};
use throughline_test::Demands;
use throughline_tests::{
    by_tier,
    kafka::{Cluster, Crew},
};

const KEYS: u64 = 10_000;
const IN_FLIGHT: u64 = 1_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_keys_of_twenty_messages_are_in_order() {
    let messages = by_tier(20, 200) * KEYS;
    // What has failed and not been tried again when a partition leaves is given back, and what was done behind it comes
    // again: no more than one worker had in flight.
    let demands = Demands::new().ids(messages).order().duplicates(IN_FLIGHT);
    let crew = Crew::gather(&Cluster::new(), "G3", 6, demands).await;
    let publishing = {
        let crew = crew.clone();
        let message = |id: u64| Message::new(id.to_string()).with_key((id % KEYS).to_string());
        let telemetry = Telemetry::off();
        tokio::task::spawn(
            async move { crew.publish(&telemetry, 0..messages, Duration::ZERO, message).await },
        )
    };
    let in_flight = IN_FLIGHT.to_string();
    let options = ["--in-flight", &in_flight, "--handler-ms", "5", "--fail-percent", "5"];
    let first = crew.worker(&options);
    crew.wait_for_commits(1_000).await;
    let second = crew.worker(&options);
    publishing.await.unwrap();
    crew.wait_for_commits(messages).await;
    first.stop().await;
    second.stop().await;
    crew.conclude();
}
