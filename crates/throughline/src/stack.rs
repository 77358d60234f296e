//! Steps 5 to 8 of the way of one message, as one expression.

use crate::middleware::{Answering, ByOutcome, CatchPanicLayer, Outcome, Settle, answer};
use std::sync::Arc;
use throughline_core::{BoxError, Delivery, IntoSettlement, Message, Settler};
use throughline_trace::TracingLayer;
use tower::{Service, ServiceBuilder, layer::layer_fn};

/// What a user's stack has to be, said once for the worker's own functions. `Worker::new` says it in full, so that a
/// mistake gets the compiler's own reason.
pub(crate) trait Stack:
    Service<
        Message,
        Response: IntoSettlement + 'static,
        Error: Into<BoxError> + 'static,
        Future: Send + 'static,
    > + Send
    + 'static
{
}

impl<S> Stack for S
where
    S: Service<Message> + Send + 'static,
    S::Response: IntoSettlement + 'static,
    S::Error: Into<BoxError> + 'static,
    S::Future: Send + 'static,
{
}

/// What the worker puts around the user's stack.
pub(crate) fn around<S, Z>(
    tracing: TracingLayer,
    answering: Arc<Answering>,
    stack: S,
) -> impl Service<Delivery<Z>, Response = Outcome<Z>, Error = BoxError, Future: Send + 'static> + Send
where
    Z: Settler,
    S: Stack,
{
    ServiceBuilder::new()
        // 5 trace: outermost, so that settling and the dead letter are inside the message's context.
        .layer(tracing.classify(ByOutcome))
        // 6 settle: keeps the settler, so that nobody below can settle twice.
        .layer(layer_fn(move |inner| {
            let answering = answering.clone();
            Settle::new(inner, move |work, kept| answer(work, kept, answering.clone()))
        }))
        // 7 guard: below settle, so that a panic is settled like an error.
        .layer(CatchPanicLayer)
        // 8 user
        .service(stack)
}
