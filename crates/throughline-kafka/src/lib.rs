//! Apache Kafka for Throughline, on librdkafka.
//!
//! ```no_run
//! use throughline_kafka::{Kafka, Start};
//!
//! let kafka = Kafka::new("127.0.0.1:9092");
//! let subscription = kafka.group("classifier").topic("orders").start(Start::Earliest);
//! let sink = kafka.topic("enriched");
//! # let _ = (subscription, sink);
//! ```
//!
//! # What is promised
//! - **At least once.** Only the contiguous completed prefix of a partition is committed: a failed message is never
//!   overtaken, however many are handled side by side. A message that is dropped unsettled stays open: it comes again
//!   when its partition is assigned anew.
//! - **No commit from an old assignment.** Before a partition is given up, its messages get a time to finish, what is
//!   done is committed, and only then it is released. A settlement that comes later does nothing.
//! - **Back-pressure, not loss.** A worker that is full stops the consumer (after half a second by pausing it), a
//!   producer that is full is not ready. Neither is an error.
//! - **Records as they are.** Duplicate, null and empty headers, keys that are not text, tombstones and their order
//!   are kept byte for byte. A record is copied once, into one buffer.
//!
//! - **The end is the end.** What a log leaves out (transaction markers, aborted transactions, what was compacted away)
//!   holds nothing up: a group that has done everything has committed the end of the log, a few seconds later.
//!
//! # Exactly once
//! From Kafka to Kafka, for batches: what a batch's handler sent and that the batch is done are committed as one
//! transaction. Whoever is killed, frozen or shut out on the way, a reader of what is committed (`isolation.level` is
//! `read_committed` by default here, and in few other clients) sees what each message led to once.
//!
//! ```no_run
//! use throughline_core::Batch;
//! use throughline_kafka::{Kafka, TransactionLayer};
//! use tower_layer::Layer;
//!
//! let kafka = Kafka::new("127.0.0.1:9092");
//! // For `Worker::batches(..)` with `Ordering::Partition`; the id is the same for all its processes and restarts.
//! let subscription = kafka.group("doubler").topic("numbers").exactly_once("doubler-1");
//! // For `Publisher::new(..)`: its handler sends `transaction.of(message)`, see [`Transaction`].
//! let sink = kafka.topic("doubles").in_transactions();
//! # fn handler() {}
//! let stack = TransactionLayer.layer(handler()); // in place of `handler()`: your `batch_handler_with(..)`
//! # drop((subscription, sink)); let _ = stack;
//! ```
//!
//! - **Not covered:** everything outside of the transaction. A handler runs again after a failure, so a row that it wrote
//!   or a request that it made is at least once, and so are the worker's own dead letters.
//! - **A batch must end within `transaction.timeout.ms`** (a minute): the broker aborts what is open for longer.
//! - **What an open transaction hides** stays hidden until its partition has another owner or that time is over.
//! - **Costs:** a client with threads and connections of its own for each assigned partition, and some milliseconds a
//!   batch: make them large.
//!
//! # Which partition a key goes to
//! The same as with Java's clients (`murmur2_random`): murmur2 of the key; without a key, any. librdkafka's own default
//! is another hash; `.set("partitioner", "consistent_random")` goes back to it.
//!
//! # TLS, logins and codecs
//! They are librdkafka's own settings, and what a build lacks is an error that names the cargo feature, before anything
//! is tried:
//!
//! | wanted | settings | cargo feature |
//! |---|---|---|
//! | TLS | `security.protocol=ssl`, `ssl.ca.location` if the system does not know the authority | `tls` |
//! | login by PLAIN | `security.protocol=sasl_ssl`, `sasl.mechanism`, `sasl.username`, `sasl.password` | `tls` (none over plaintext) |
//! | login by SCRAM | the same | `tls` |
//! | login by OAUTHBEARER | `sasl.mechanism` and [`Kafka::oauth_token`] | `tls` |
//! | GSSAPI, OIDC, an OpenSSL of its own | librdkafka's | `gssapi`, `curl`, `ssl-vendored` of the crate `rdkafka`, named beside this one |
//! | batches by gzip, zstd | `compression.type`, to send them | `gzip`, `zstd` (default ones; snappy and lz4 need none) |
//!
//! A server that refuses us is an error within the connect time that says what to change: a certificate that is not
//! trusted, TLS where there is none and the reverse, a login that is wanted or denied. A batch that cannot be read is told
//! as [`Event::Unreadable`](throughline_core::Event::Unreadable); its partition waits before it, and the others go on.
//!
//! # Header names
//! A header whose name is not UTF-8 is legal for Kafka and makes the client library panic. The panic is caught, the
//! record is delivered without headers and marked with [`HeadersUnreadable`]; the process's panic hook still prints it,
//! and a program built with `panic = "abort"` ends there.

mod admin;
mod carrier;
mod client;
mod config;
mod consume;
mod headers;
mod produce;
mod transaction;

pub use admin::Admin;
pub use carrier::HeaderCarrier;
pub use client::oauth::OauthToken;
pub use config::{Kafka, KafkaGroup};
pub use consume::{
    settler::KafkaSettler,
    source::KafkaSource,
    subscription::{Assignment, KafkaSubscription, Start},
};
pub use headers::HeadersUnreadable;
pub use produce::sink::{KafkaSink, SendFuture};
pub use transaction::{Transacted, Transaction, TransactionLayer};
