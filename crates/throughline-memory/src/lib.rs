//! An embedded message broker for Throughline: partitions, keys, groups, redelivery, delay, back-pressure.
//!
//! [`Memory`] is shaped like Kafka and honest enough to develop and test against: what is promised here (order within a
//! partition, the contiguous committed prefix, one member for a partition, lost leases at a rebalance) is what the
//! Kafka adapter promises. Headers, keys and payloads are passed on byte for byte and are never copied, so there is
//! nothing to translate.
//!
//! | file | what |
//! |---|---|
//! | `memory.rs` `config.rs` `subscription.rs` `source.rs` `settler.rs` `sink.rs` | what a user or a worker touches |
//! | `shared.rs` | the one lock between them and the broker |
//! | `broker.rs` `consume.rs` | the broker's two sides, publishing and consuming: plain state without clock or runtime |
//! | `log.rs` `progress.rs` `group.rs` `partitioner.rs` | its parts: one partition's log, one group's way through it, the members, the hash |
//! | `fault.rs` | faults that tests inject |

mod broker;
mod config;
mod consume;
mod effects;
mod fault;
mod group;
mod log;
mod memory;
mod partitioner;
mod progress;
mod settler;
mod shared;
mod sink;
mod source;
mod subscription;

pub use broker::Counters;
pub use config::{Start, Topics};
pub use fault::{At, Fault};
pub use memory::Memory;
pub use settler::MemorySettler;
pub use sink::{MemorySink, ResponseFuture};
pub use source::MemorySource;
pub use subscription::MemorySubscription;
