//! Tower layers that keep an OpenTelemetry trace whole across a message broker.
//!
//! [`TracingLayer`] goes around what handles messages, [`MirrorLayer`] around what sends them. Both work alone, around
//! a raw client and a message type of your own: implement [`Inbound`](throughline_core::Inbound) or
//! [`Outbound`](throughline_core::Outbound) for it, one method each.
//!
//! | item | what it is |
//! |---|---|
//! | [`TracingLayer`] | extracts the message's context, puts a linked CONSUMER span around its processing |
//! | [`MirrorLayer`] | puts a PRODUCER span around a send, writes its context into the message |
//! | [`AttemptLayer`] | inside a retry: a span for each try after the first |
//! | [`Trail`], [`Captured`], [`TraceContext`] | how a message carries its context within the process |
//! | [`forward`], [`set_aside`] | sending on what was received |
//! | [`codec`], [`Propagation`] | strict W3C Trace Context and Baggage; other formats by `OTEL_PROPAGATORS`; [`TextMap`] for HTTP |
//! | [`Metrics`] | what is counted and measured, sampled or not |
//! | [`FollowLinks`] | a sampler that carries a decision over links |
//! | [`Telemetry`] | an SDK set up so that losses are counted |
//!
//! The spans are those of the OpenTelemetry API, not of `tracing`: a log filter cannot cut a trace.

mod attempt;
mod classify;
pub mod codec;
mod forward;
mod future;
mod intern;
mod lazy;
mod metrics;
mod mirror;
mod propagation;
mod sampler;
pub mod semconv;
mod spans;
mod telemetry;
mod template;
mod text_map;
mod tracing;
mod trail;

pub use self::tracing::{Tracing, TracingLayer};
pub use attempt::{Attempt, AttemptFuture, AttemptLayer};
pub use classify::{Classify, Failure, OnError, error_type};
pub use forward::{forward, set_aside};
pub use future::ResponseFuture;
pub use metrics::{Metrics, WorkerFigures};
pub use mirror::{Mirror, MirrorLayer};
pub use propagation::Propagation;
pub use sampler::FollowLinks;
pub use spans::{Relation, Spans};
pub use telemetry::{Telemetry, TelemetryBuilder};
pub use text_map::TextMap;
pub use trail::{Captured, TraceContext, Trail};
