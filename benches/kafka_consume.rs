//! B5: consuming from a real Kafka that is ahead of us. The raw client, the raw client traced by hand, and a worker,
//! untraced and traced, round by round over the same records.
//!
//! `cargo bench -p throughline-benches --features kafka --bench kafka_consume`, with the broker in
//! `THROUGHLINE_KAFKA`; a number after `--` is that of the records.

use throughline::BoxError;
use throughline_benches::broker::{self, Bench};

#[cfg(feature = "kafka")]
const BENCH: Option<Bench> = Some(throughline_benches::kafka::bench);
#[cfg(not(feature = "kafka"))]
const BENCH: Option<Bench> = None;

fn main() -> Result<(), BoxError> {
    let row = ["B5", "Kafka consume, 100 B, saturated, 4 partitions"];
    broker::run("kafka_consume", row, "THROUGHLINE_KAFKA", "kafka", BENCH)
}
