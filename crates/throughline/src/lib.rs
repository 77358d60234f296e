//! Message workers whose OpenTelemetry traces never break at a broker.
//!
//! A [`Worker`] feeds what a broker delivers to a Tower stack of yours, under a supervised actor. Around the stack it
//! puts a tracing layer that extracts the message's context and starts a linked CONSUMER span; a [`Publisher`] puts
//! the mirror layer around every send, which injects `traceparent`. Retries, rate limits, timeouts and your own
//! middleware are ordinary Tower layers between the two. Delivery is at least once: nothing is acknowledged before it
//! is done, and nothing is committed past a message that failed. [`Worker::batches`] hands several messages to one call.
//!
//! ```no_run
//! use std::time::Duration;
//! use throughline::{
//!     Backoff, BoxError, Json, Message, Publisher, RetryLayer, Runtime, State, Telemetry, Worker, handler_with,
//!     memory::Memory, shutdown_signal,
//! };
//! use tower::ServiceBuilder;
//!
//! async fn double(Json(n): Json<u64>, State(publisher): State<Publisher>) -> Result<(), BoxError> {
//!     publisher.send(Message::new((2 * n).to_string())).await?;
//!     Ok(())
//! }
//!
//! # #[tokio::main] async fn main() -> Result<(), BoxError> {
//! let broker = Memory::new();
//! broker.create_topic("numbers", 4)?;
//! broker.create_topic("doubles", 4)?;
//! let publisher = Publisher::new(broker.topic("doubles"));
//! let stack = move || {
//!     ServiceBuilder::new()
//!         .layer(RetryLayer::new(Backoff::exponential(3)))
//!         .timeout(Duration::from_secs(30))
//!         .service(handler_with(publisher.clone(), double))
//! };
//! let mut runtime = Runtime::new(Telemetry::from_env("doubler")?)?;
//! runtime.spawn(Worker::new("double", broker.subscribe("numbers").group("doubler"), stack));
//! runtime.until(shutdown_signal()).await?;
//! # Ok(()) }
//! ```
//!
//! # Cargo features
//! `memory`, `kafka`, `sqs` and `pubsub` bring one broker each, `otlp` the export of spans and metrics over OTLP/HTTP,
//! `tls` TLS and logins to Kafka. None is on by default. Stacks are built with the crate `tower`, whose layers are behind
//! features of its own (`timeout`, `limit`, `util`).

pub mod actor;
mod batcher;
mod boxed;
mod budget;
mod control;
mod deliveries;
mod flush;
mod handler;
mod heard;
mod incarnation;
mod lanes;
mod middleware;
mod parked;
mod publisher;
mod pump;
mod queue;
mod runtime;
mod shutdown;
mod slots;
mod stack;
mod status;
mod work_loop;
mod worker;

pub use batcher::BatchPolicy;
pub use boxed::BoxSink;
pub use handler::{
    BatchHandler, BatchHandlerService, Extension, FromBatch, FromMessage, HandlerFuture, HandlerService,
    Json, MessageHandler, SetApart, State, batch_handler, batch_handler_with, handler, handler_with,
};
pub use lanes::Ordering;
pub use middleware::fields as dead_letter;
pub use middleware::{
    AnswerTo, Backoff, CatchPanic, CatchPanicFuture, CatchPanicLayer, DeadLetter, FromFn, FromFnLayer, Next,
    OnReject, Panicked, Redelay, Request, RetryLayer, Share, ShareLayer, error_type, from_fn,
};
pub use publisher::Publisher;
pub use runtime::{Runtime, WorkerHandle};
pub use shutdown::{ShutdownError, Step, shutdown_signal};
pub use status::{Blocked, Counts, Status, WorkerState};
pub use throughline_core::{
    Answers, Batch, BoxError, BoxSubscription, ByteString, Capacity, Delivery, Demand, Destination, Endpoint,
    Error, ErrorKind, Event, Extensions, Extract, Header, Headers, Inbound, Inject, IntoAnswers,
    IntoSettlement, Lease, LeaseOwner, Message, Observe, Observer, Origin, Outbound, PartitionIndex, Receipt,
    Redelivery, Rejected, Settlement, Settler, Source, Subscription, WrongAnswers,
};
pub use throughline_trace::{
    Metrics, MirrorLayer, Relation, Telemetry, TelemetryBuilder, TraceContext, TracingLayer, forward,
};
pub use worker::{OnLeaseLost, Restarts, Worker};

/// The embedded broker.
#[cfg(feature = "memory")]
pub mod memory {
    pub use throughline_memory::*;
}

/// Apache Kafka.
#[cfg(feature = "kafka")]
pub mod kafka {
    pub use throughline_kafka::*;
}

/// AWS SQS, behind the feature `sqs`.
#[cfg(feature = "sqs")]
pub mod sqs {
    pub use throughline_sqs::*;
}

/// Google Pub/Sub, behind the feature `pubsub`.
#[cfg(feature = "pubsub")]
pub mod pubsub {
    pub use throughline_pubsub::*;
}

/// The tracing layers and their parts, for use without a worker.
pub mod trace {
    pub use throughline_trace::*;
}
