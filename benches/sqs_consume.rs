//! B13: consuming from a full queue of an SQS server: the raw client and a worker of equal concurrency, and what a message
//! costs in calls.
//!
//! `cargo bench -p throughline-benches --features sqs --bench sqs_consume`, with the server in `THROUGHLINE_SQS`.

use throughline::BoxError;
use throughline_benches::rows::Rows;

fn main() -> Result<(), BoxError> {
    let mut rows = Rows::open("sqs_consume")?;
    match std::env::var("THROUGHLINE_SQS") {
        Ok(address) if cfg!(feature = "sqs") => measured(&address, &mut rows),
        Ok(_) => skipped(&mut rows, "built without `--features sqs`"),
        Err(_) => skipped(&mut rows, "THROUGHLINE_SQS=host:port names no server"),
    }
}

fn skipped(rows: &mut Rows, why: &str) -> Result<(), BoxError> {
    Ok(rows.skipped("B13", "SQS consume, 100 B, saturated, in flight 64", why)?)
}

#[cfg(not(feature = "sqs"))]
fn measured(_: &str, rows: &mut Rows) -> Result<(), BoxError> {
    skipped(rows, "built without `--features sqs`")
}

#[cfg(feature = "sqs")]
fn measured(address: &str, rows: &mut Rows) -> Result<(), BoxError> {
    throughline_benches::sqs::bench(address, rows)
}
