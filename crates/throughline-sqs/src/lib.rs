//! AWS SQS for Throughline, on the AWS SDK.
//!
//! ```no_run
//! use throughline_sqs::Sqs;
//!
//! let sqs = Sqs::from_env();
//! let subscription = sqs.subscribe("orders");
//! let sink = sqs.queue("https://sqs.eu-west-1.amazonaws.com/123456789012/enriched");
//! # let _ = (subscription, sink);
//! ```
//!
//! # What is promised
//! - **At least once.** A message is deleted after it is done. Until then its lease (SQS's visibility time-out) is
//!   extended, from its receipt on, whether its handler runs or it waits, for up to 12 hours. A lease that ends all the
//!   same tells the worker, and nothing is deleted.
//! - **Nothing is received that cannot be started.** A poll asks for no more than there is room for. A quiet queue has one
//!   long poll, a full one as many as fill the worker.
//! - **The trace comes along.** What carries a context is asked for on receive, and looked for in this order: message
//!   attributes, the envelope of SNS, the `detail` of an `EventBridge` event (fields that its publisher wrote there), the
//!   X-Ray header, which is linked to but decides nothing. Injecting one never makes a send fail.
//! - **Attributes as they are.** `String`, `Number` and `Binary` with their labels are kept.
//! - **FIFO queues keep their order.** The group is the key. A failed message takes back what was received after it in its
//!   group, and holds nobody else.
//! - **A standard queue keeps none.** With [`Ordering::Key`] (the default of a worker) two messages of one key do not run side
//!   by side, and that is all. What waits for another of its key has a place among those in flight: a key with more messages
//!   than a worker takes at once keeps the others out until it is through. Where that may be, use a FIFO queue (which hands
//!   out no more than ten of a group before they are done) or `Ordering::None`.
//!
//! [`Ordering::Key`]: https://docs.rs/throughline/latest/throughline/enum.Ordering.html
//!
//! # What it costs to stop
//! A poll that is open runs to its end, since what it takes would stay hidden otherwise: an idle worker takes up to 20 s to
//! stop ([`SqsSubscription::wait`] shortens that), or as long as its grace lets it. What comes then is visible again at
//! once, but SQS has counted that it was received: where a redrive policy allows one receive only (`maxReceiveCount` 1), it
//! goes to the dead letters with the next. Allow two or more, or a short wait. No more is ever received than can be started
//! at once, so nothing else that was not handled is counted.
//!
//! # What is tested how
//! Everything goes through the wire against ElasticMQ, and what SNS delivers against ministack. ElasticMQ differs from AWS
//! where it does not check names of attributes, the size of body and attributes together and the 12 hours, and lets an ended
//! lease be extended: those rules are taken from AWS's documentation, and held by unit tests and small servers that answer
//! as it says. Nothing here was run against AWS itself.

mod admin;
mod calls;
mod carrier;
mod config;
mod desk;
mod encode;
mod envelope;
mod errors;
mod headers;
mod keeper;
mod metadata;
mod owed;
mod polls;
mod sender;
mod settler;
mod sink;
mod source;
mod subscription;
mod text;

pub use carrier::AttributeCarrier;
pub use config::Sqs;
pub use headers::NotBase64;
pub use metadata::{AttributeTypes, DeduplicationId, Delay, SnsMetadata, SqsMetadata};
pub use settler::SqsSettler;
pub use sink::SqsSink;
pub use source::SqsSource;
pub use subscription::SqsSubscription;
pub use throughline_core::SendFuture;
