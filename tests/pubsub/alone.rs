//! What measures memory on Pub/Sub, with the machine for itself.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says that it failed by a panic")]
#![allow(clippy::print_stdout, reason = "figures are shown")]
#![allow(dead_code, reason = "the site is that of all tests")]

mod a_hundred_thousand_keys_are_forgotten;
mod relay;
mod site;
