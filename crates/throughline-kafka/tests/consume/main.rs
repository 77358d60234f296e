//! Consuming from a real broker, one file a behaviour.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says that it failed by a panic")]

#[path = "../common/mod.rs"]
mod common;

mod the_commit_reaches_the_end_of_the_log;
mod the_lag_is_told;
