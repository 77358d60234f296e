//! Google Pub/Sub for Throughline, on the official client.
//!
//! ```no_run
//! use throughline_pubsub::PubSub;
//!
//! let pubsub = PubSub::from_env();
//! let subscription = pubsub.subscribe("orders");
//! let sink = pubsub.topic("projects/other/topics/enriched");
//! # let _ = (subscription, sink);
//! ```
//!
//! # Where and who
//! Names are short or full (`projects/PROJECT/topics/NAME`); the project of a short one is said, or found in the
//! environment. Credentials are the application default ones unless you bring your own; so may be the endpoint and the
//! clients. `PUBSUB_EMULATOR_HOST` sends everything to an emulator, without credentials.

mod admin;
mod answers;
mod ask;
mod carrier;
mod config;
mod connect;
mod counts;
mod dead_letter;
mod desk;
mod encode;
mod environment;
mod errors;
mod headers;
mod keys;
mod lines;
mod link;
mod names;
mod pulse;
mod settler;
mod sink;
mod source;
mod streams;
mod subscription;
mod tuner;

pub use admin::NewSubscription;
pub use carrier::AttributeCarrier;
pub use config::PubSub;
pub use settler::PubSubSettler;
pub use sink::PubSubSink;
pub use source::PubSubSource;
pub use subscription::{ContextOrder, PubSubSubscription};
