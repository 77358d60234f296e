//! A worker process on a queue, to be killed and stopped.

use std::{process::ExitCode, time::Duration};
use throughline::sqs::Sqs;

#[tokio::main]
async fn main() -> ExitCode {
    // What a killed worker held comes again after this time: short, so that a test of many kills ends.
    let visibility = Duration::from_secs(3);
    let wait = Duration::from_secs(1);
    let subscribe =
        |endpoint: &str, queue: &str| Sqs::local(endpoint).subscribe(queue).wait(wait).visibility(visibility);
    throughline_tests::work("sqs_worker", subscribe).await
}
