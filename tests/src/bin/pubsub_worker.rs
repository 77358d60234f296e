//! A worker process on a subscription, to be killed and stopped.

use std::{process::ExitCode, time::Duration};
use throughline::pubsub::PubSub;

#[tokio::main]
async fn main() -> ExitCode {
    // What a killed worker held comes again after this time, which is the shortest that there is.
    let lease = Duration::from_secs(10);
    let subscribe =
        |address: &str, name: &str| PubSub::emulator(address, "throughline").subscribe(name).lease(lease);
    throughline_tests::work("pubsub_worker", subscribe).await
}
