//! Shared by the benches: what is measured, what it is compared with, and how the numbers are written down.
//!
//! | file | what it holds |
//! |---|---|
//! | `by_hand.rs` | the same spans by careful hand-written OpenTelemetry code |
//! | `replay.rs` | a source that delivers one set of messages again and again, and a sink that takes everything |
//! | `cases.rs` | each thing that is measured, by name |
//! | `measure.rs` | time, CPU time and instructions of a case |
//! | `broker.rs` | what is measured on a real broker, or skipped aloud |
//! | `kafka.rs` | the loops that consume from a real Kafka |
//! | `queue.rs` | what the benches of a queue share |
//! | `pubsub.rs` | the loops that empty a subscription of a Pub/Sub server |
//! | `sqs.rs` | the loops that empty a queue of an SQS server |
//! | `tracker.rs` | Kafka's tracker of offsets, settled out of order |
//! | `rows.rs` | the table for people and the JSON lines for `cargo xtask bench` |

pub mod broker;
pub mod by_hand;
pub mod cases;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod measure;
#[cfg(feature = "pubsub")]
pub mod pubsub;
#[cfg(any(feature = "pubsub", feature = "sqs"))]
mod queue;
pub mod replay;
pub mod rows;
#[cfg(feature = "sqs")]
pub mod sqs;
pub mod tracker;
