//! What measures time on a real Kafka, with the machine for itself.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says that it failed by a panic")]
#![allow(clippy::print_stdout, reason = "figures are shown")]

mod nothing_rests;
