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
//!
//! # What each promise was tested against
//! | server | what was seen on it |
//! |---|---|
//! | Google's emulator | delivery, nacks and their delays, leases through long handlers, the order of keys, dead letters and their counts, attributes and contexts with Google's own clients, a server that is frozen, stops and kills |
//! | a fake of the protocol | what the emulator ignores or never does: acknowledgements of exactly once that are confirmed, refused or never answered; flow control, obeyed and not; a stream that falls silent, breaks or is refused; a token that expires; a publish that is refused or never answered; that no call's metadata has a user's context |
//! | none | the limits of a message, which the emulator does not check: they are as documented, and checked before the send. Filters and the service's own retry policy are the service's |
//!
//! Nothing here was run against the real service. The fake answers as its documentation says.

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
