//! What neither the emulator nor the service can be made to do, on a fake of Pub/Sub's protocol: confirmations of
//! acknowledgements, flow control that is obeyed or broken, a stream that falls silent, resets, a server that answers
//! nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says that it failed by a panic")]

mod fake;
mod the_client_alone;
