//! Async functions as handlers.

use super::FromMessage;
use opentelemetry::{Context, trace::TraceContextExt};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{self, Poll},
};
use throughline_core::{BoxError, Extensions, IntoSettlement, Message, Settlement};
use throughline_trace::Trail;

/// An async fn of up to eight extractors that answers `()`, a [`Settlement`], or a `Result` of these.
///
/// Not implemented by hand; see [`handler`](crate::handler).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a message handler",
    note = "a handler is an async fn of up to 8 extractors that answers `()`, `Settlement` or a `Result` of these, \
            and whose future is `Send`"
)]
pub trait MessageHandler<T, S>: Clone + Send + 'static {
    /// Resolves to the answer.
    type Future: Future<Output = Result<Settlement, BoxError>> + Send + 'static;

    /// Takes what the function asks for from the message and runs it.
    fn call(&self, message: Message, state: &S) -> Self::Future;
}

pin_project! {
    /// The future of a [`MessageHandler`].
    pub struct HandlerFuture<F> {
        #[pin]
        state: Running<F>,
    }
}

pin_project! {
    #[project = RunningProj]
    enum Running<F> {
        Rejected { error: Option<BoxError> },
        Here { #[pin] future: F },
        // Below a buffer or a spawned task the message's context is not current: it is brought along.
        Carried { #[pin] future: F, context: Context },
    }
}

impl<F> HandlerFuture<F> {
    pub(crate) fn rejected(error: BoxError) -> Self {
        HandlerFuture { state: Running::Rejected { error: Some(error) } }
    }

    /// Runs `make`, and the future it makes, in the message's process context, unless a context is current already.
    pub(crate) fn run(carried: Option<Context>, make: impl FnOnce() -> F) -> Self {
        let state = match carried {
            None => Running::Here { future: make() },
            Some(context) => {
                let _current = context.clone().attach();
                Running::Carried { future: make(), context: context.clone() }
            }
        };
        HandlerFuture { state }
    }
}

impl<F> Future for HandlerFuture<F>
where
    F: Future,
    F::Output: IntoSettlement,
{
    type Output = Result<Settlement, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            RunningProj::Rejected { error } => match error.take() {
                Some(error) => Poll::Ready(Err(error)),
                None => Poll::Pending,
            },
            RunningProj::Here { future } => future.poll(cx).map(IntoSettlement::into_settlement),
            RunningProj::Carried { future, context } => {
                let _current = context.clone().attach();
                future.poll(cx).map(IntoSettlement::into_settlement)
            }
        }
    }
}

/// The process context of a message or a batch, where it is not current.
pub(crate) fn carried(extensions: &Extensions) -> Option<Context> {
    let trail = extensions.get::<Trail>()?;
    Context::map_current(|now| !now.has_active_span()).then(|| trail.context().clone())
}

impl<F> fmt::Debug for HandlerFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HandlerFuture")
    }
}

macro_rules! handlers {
    ($($A:ident),*) => {
        impl<F, Fut, S, $($A,)*> MessageHandler<($($A,)*), S> for F
        where
            F: Fn($($A),*) -> Fut + Clone + Send + 'static,
            Fut: Future + Send + 'static,
            Fut::Output: IntoSettlement,
            $($A: FromMessage<S>,)*
        {
            type Future = HandlerFuture<Fut>;

            #[allow(non_snake_case, unused_variables, reason = "the macro names values after their types")]
            fn call(&self, message: Message, state: &S) -> Self::Future {
                $(let $A = match $A::from_message(&message, state) {
                    Ok(value) => value,
                    Err(rejection) => return HandlerFuture::rejected(rejection.into()),
                };)*
                HandlerFuture::run(carried(message.extensions()), || self($($A),*))
            }
        }
    };
}

/// Hands a macro every number of extractors that a handler may have.
macro_rules! every_arity {
    ($each:ident) => {
        $each!();
        $each!(A1);
        $each!(A1, A2);
        $each!(A1, A2, A3);
        $each!(A1, A2, A3, A4);
        $each!(A1, A2, A3, A4, A5);
        $each!(A1, A2, A3, A4, A5, A6);
        $each!(A1, A2, A3, A4, A5, A6, A7);
        $each!(A1, A2, A3, A4, A5, A6, A7, A8);
    };
}
pub(super) use every_arity;

every_arity!(handlers);
