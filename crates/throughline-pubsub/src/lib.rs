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
//! # What is promised when consuming
//! - **At least once.** A message is acknowledged after it is done. Until then its lease is extended by the client, from its
//!   receipt on, whether its handler runs, it waits, or a nack's delay is not over, for up to an hour
//!   ([`PubSubSubscription::longest_lease`]). A lease that ends all the same tells the worker.
//! - **Exactly once where the subscription is so.** Settling then waits for the service's confirmation; what it refuses is an
//!   error of the settlement, on the span and in the counts, and the message may come again.
//! - **Little is held that is not started.** A worker's concurrency and its [buffer](PubSubSubscription::buffer) are told to
//!   the server, and no more is read, whatever it sends. Of the response that is being read the client may hold the rest.
//! - **Keys keep their order.** On a subscription with message ordering a key is handed over one message at a time. A nack
//!   takes back what was behind it, and what comes again is handled in the order of its first delivery, however the
//!   service sends it. Other keys, and messages without one, are not held up.
//! - **A nack has a delay**, though Pub/Sub knows none for one message: it is held for so long, its lease kept, and then given
//!   back. At most as many as the buffer are held so; a drain gives them back at once. How often a message was delivered is
//!   told by the service where the subscription has a dead-letter policy, else counted here since it was first nacked.
//! - **The trace comes along**, from `traceparent` or from the `googclient_traceparent` of Google's own clients
//!   ([`ContextOrder`]). The streams run outside any span, so that no call of the client carries a user's.
//!
//! # What goes wrong, and heals
//! The client opens a broken stream again by itself and says nothing, waiting up to a minute at last. So the server is asked
//! (`GetSubscription`) when a stream breaks: who is away is told to the worker and found again within seconds of its return.
//! A subscription that was deleted is looked for every few seconds, and consumed again when it is there. A stream that is
//! silent for 45 s, with not even an answer to a keep-alive, is opened anew; on a server that never answers any (the
//! emulator) at most every five minutes. Credentials that may consume a subscription and not look at it
//! (`pubsub.subscriptions.get`) do as well, with less to tell; then [`PubSubSubscription::topic`] says what its topic is
//! called.
//!
//! # What each promise was tested against
//! | server | what was seen on it |
//! |---|---|
//! | Google's emulator | delivery, nacks and their delays, leases through long handlers, the order of keys, dead letters and their counts, attributes and contexts with Google's own clients, a server that is frozen, stops and kills |
//! | a fake of the protocol | what the emulator ignores or never does: acknowledgements of exactly once that are confirmed, refused or never answered; flow control, obeyed and not; a stream that falls silent, breaks or is refused; a token that expires; a publish that is refused or never answered; that no call's metadata has a user's context |
//! | none | the limits of a message, which the emulator does not check: they are as documented, and checked before the send. Filters and the service's own retry policy are the service's |
//!
//! Nothing here was run against the real service. The fake answers as its documentation says.
//! The emulator (0.8.20) does not notice that a stream was cancelled, or that its client was killed: for minutes it sends
//! into it what comes again only when a lease is over, a hundred messages at a time. The service does notice. So these tests
//! have a relay in front of the emulator that ends, in words, what a client left.

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
mod silence;
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
