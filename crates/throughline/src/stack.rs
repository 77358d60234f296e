//! Steps 5 to 8 of the way of one message, as one expression.

use crate::{
    deliveries::Deliveries,
    middleware::{
        Answering, ByOutcome, CatchPanicFuture, CatchPanicLayer, Outcome, Outcomes, Owed, Settle, answer,
        answer_each,
    },
};
use std::{future::Future, sync::Arc};
use throughline_core::{Batch, BoxError, Delivery, Inbound, IntoAnswers, IntoSettlement, Message, Settler};
use throughline_trace::{Classify, TracingLayer};
use tower::{Service, ServiceBuilder, layer::layer_fn};

/// What a user's stack has to be, said once for the worker's own functions. `Worker::new` and `Worker::batches` say it
/// in full, so that a mistake gets the compiler's own reason.
pub(crate) trait Stack<R>:
    Service<R, Response: 'static, Error: Into<BoxError> + 'static, Future: Send + 'static> + Send + 'static
{
}

impl<R, S> Stack<R> for S
where
    S: Service<R> + Send + 'static,
    S::Response: 'static,
    S::Error: Into<BoxError> + 'static,
    S::Future: Send + 'static,
{
}

/// What the worker puts around the user's stack. `join` waits for the answer and settles.
fn around<R, S, J, Fut, Out>(
    tracing: TracingLayer,
    join: J,
    stack: S,
) -> impl Service<R, Response = Out, Error = BoxError, Future: Send + 'static> + Send
where
    R: Inbound + Owed,
    S: Stack<R::Request>,
    J: Fn(CatchPanicFuture<S::Future>, R::Kept) -> Fut + Clone + Send,
    Fut: Future<Output = Result<Out, BoxError>> + Send + 'static,
    ByOutcome: Classify<Out, BoxError>,
    Out: 'static,
{
    ServiceBuilder::new()
        // 5 trace: outermost, so that settling and the dead letter are inside the message's context.
        .layer(tracing.classify(ByOutcome))
        // 6 settle: keeps the settler, so that nobody below can settle twice.
        .layer(layer_fn(move |inner| Settle::new(inner, join.clone())))
        // 7 guard: below settle, so that a panic is settled like an error.
        .layer(CatchPanicLayer)
        // 8 user
        .service(stack)
}

/// Around a stack of messages.
pub(crate) fn one<S, Z>(
    tracing: TracingLayer,
    answering: Arc<Answering>,
    stack: S,
) -> impl Service<Delivery<Z>, Response = Outcome<Z>, Error = BoxError, Future: Send + 'static> + Send
where
    Z: Settler,
    S: Stack<Message, Response: IntoSettlement>,
{
    around(tracing, move |work, kept| answer(work, kept, answering.clone()), stack)
}

/// Around a stack of batches.
pub(crate) fn batch<S, Z>(
    tracing: TracingLayer,
    answering: Arc<Answering>,
    stack: S,
) -> impl Service<Deliveries<Z>, Response = Outcomes<Z>, Error = BoxError, Future: Send + 'static> + Send
where
    Z: Settler,
    S: Stack<Batch, Response: IntoAnswers>,
{
    around(tracing, move |work, kept| answer_each(work, kept, answering.clone()), stack)
}
