//! B5: consuming from a real Kafka that is ahead of us. The raw client, the raw client traced by hand, and a worker,
//! untraced and traced, round by round over the same records.
//!
//! `cargo bench -p throughline-benches --features kafka --bench kafka_consume`, with the broker in
//! `THROUGHLINE_KAFKA`; a number after `--` is that of the records.

use throughline::BoxError;
use throughline_benches::rows::Rows;

fn main() -> Result<(), BoxError> {
    let mut rows = Rows::open("kafka_consume")?;
    match std::env::var("THROUGHLINE_KAFKA") {
        Ok(servers) if cfg!(feature = "kafka") => measured(&servers, &mut rows),
        Ok(_) => skipped(&mut rows, "built without `--features kafka`"),
        Err(_) => skipped(&mut rows, "THROUGHLINE_KAFKA=host:port names no broker"),
    }
}

fn skipped(rows: &mut Rows, why: &str) -> Result<(), BoxError> {
    Ok(rows.skipped("B5", "Kafka consume, 100 B, saturated, 4 partitions", why)?)
}

#[cfg(not(feature = "kafka"))]
fn measured(_: &str, rows: &mut Rows) -> Result<(), BoxError> {
    skipped(rows, "built without `--features kafka`")
}

#[cfg(feature = "kafka")]
fn measured(servers: &str, rows: &mut Rows) -> Result<(), BoxError> {
    throughline_benches::kafka::bench(servers, rows)
}
