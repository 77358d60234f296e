//! Words and contracts of Throughline: what a message is, who owes it a settlement, and where its trace context is.
//!
//! Nothing here knows OpenTelemetry, an actor or a broker client. A broker adapter implements [`Subscription`],
//! [`Source`] and [`Settler`] and offers a sink that is an ordinary [`tower_service::Service`]; the worker runtime
//! and the tracing layers are written against these words alone.
//!
//! | word | meaning |
//! |---|---|
//! | [`Message`] | payload, key, headers; cheap to clone; the same type in both directions |
//! | [`Delivery`] | a message handed to us, owed exactly one settlement |
//! | [`Batch`], [`Answers`] | several messages that are handled together, and what becomes of each |
//! | [`Settlement`] | the answer: ack, nack (again, perhaps later) or reject (never again) |
//! | [`Demand`] | how much more a worker can take; a source asks it before it asks the broker |
//! | [`Lease`] | whether we still hold what was delivered |
//! | [`Event`] | what an adapter reports while it works |
//! | [`Sends`] | what a sink has under way, each answered once |
//! | [`Flow`] | how much that may be |
//! | [`Extract`], [`Inject`] | where a trace context is read from and written to |

mod answers;
mod batch;
mod beside;
mod boxed;
mod delivery;
mod demand;
mod endpoint;
mod error;
mod extensions;
mod flow;
mod headers;
mod lease;
mod message;
mod observe;
mod origin;
mod propagate;
mod sends;
mod settlement;
mod share;
mod source;
mod unconfirmed;
mod waiters;

pub use answers::{Answers, IntoAnswers, WrongAnswers};
pub use batch::Batch;
pub use beside::ContextBeside;
pub use boxed::{BoxSettler, BoxSource, BoxSubscription};
pub use bytestring::ByteString;
pub use delivery::Delivery;
pub use demand::{Capacity, Changed, Demand, DemandControl, Phase};
pub use endpoint::{Endpoint, Receipt, Request};
pub use error::{BoxError, Error, ErrorKind};
pub use extensions::Extensions;
pub use flow::{Flow, Place};
pub use headers::{Header, Headers};
pub use lease::{Lease, LeaseOwner, Lost};
pub use message::Message;
pub use observe::{Event, Observe, Observer, Settled};
pub use origin::{Destination, Origin, PartitionIndex};
pub use propagate::{Extract, Inbound, Inject, Outbound};
pub use sends::Sends;
pub use settlement::{IntoSettlement, Redelivery, Rejected, Settlement, Settler};
pub use share::Share;
pub use source::{Source, Subscription};
pub use unconfirmed::{SendFuture, Unconfirmed};
