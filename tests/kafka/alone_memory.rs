//! What measures memory on a real Kafka.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says that it failed by a panic")]
#![allow(clippy::print_stdout, reason = "figures are shown")]

mod a_flood_is_held_back;
