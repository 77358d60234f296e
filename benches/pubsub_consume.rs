//! B14: consuming from a full subscription of a Pub/Sub server: the official client's own loop, and a worker on one stream.
//!
//! `cargo bench -p throughline-benches --features pubsub --bench pubsub_consume`, with the server in `THROUGHLINE_PUBSUB`.

use throughline::BoxError;
use throughline_benches::rows::Rows;

fn main() -> Result<(), BoxError> {
    let mut rows = Rows::open("pubsub_consume")?;
    match std::env::var("THROUGHLINE_PUBSUB") {
        Ok(address) if cfg!(feature = "pubsub") => measured(&address, &mut rows),
        Ok(_) => skipped(&mut rows, "built without `--features pubsub`"),
        Err(_) => skipped(&mut rows, "THROUGHLINE_PUBSUB=host:port names no server"),
    }
}

fn skipped(rows: &mut Rows, why: &str) -> Result<(), BoxError> {
    Ok(rows.skipped("B14", "Pub/Sub consume, 100 B, saturated, in flight 64", why)?)
}

#[cfg(not(feature = "pubsub"))]
fn measured(_: &str, rows: &mut Rows) -> Result<(), BoxError> {
    skipped(rows, "built without `--features pubsub`")
}

#[cfg(feature = "pubsub")]
fn measured(address: &str, rows: &mut Rows) -> Result<(), BoxError> {
    throughline_benches::pubsub::bench(address, rows)
}
