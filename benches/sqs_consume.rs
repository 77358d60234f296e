//! B13: consuming from a full queue of an SQS server: the raw client and a worker of equal concurrency, and what a message
//! costs in calls.
//!
//! `cargo bench -p throughline-benches --features sqs --bench sqs_consume`, with the server in `THROUGHLINE_SQS`.

use throughline::BoxError;
use throughline_benches::broker::{self, Bench};

#[cfg(feature = "sqs")]
const BENCH: Option<Bench> = Some(throughline_benches::sqs::bench);
#[cfg(not(feature = "sqs"))]
const BENCH: Option<Bench> = None;

fn main() -> Result<(), BoxError> {
    let row = ["B13", "SQS consume, 100 B, saturated, in flight 64"];
    broker::run("sqs_consume", row, "THROUGHLINE_SQS", "sqs", BENCH)
}
