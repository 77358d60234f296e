//! Async functions as handlers.

use super::{
    FromMessage,
    carried::{Along, Carried, carried},
};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};
use throughline_core::{BoxError, IntoSettlement, Message, Settlement};

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
        Accepted { #[pin] future: Carried<F> },
    }
}

impl<F> HandlerFuture<F> {
    pub(crate) fn rejected(error: BoxError) -> Self {
        HandlerFuture { state: Running::Rejected { error: Some(error) } }
    }

    pub(crate) fn run(along: Along, make: impl FnOnce() -> F) -> Self {
        HandlerFuture { state: Running::Accepted { future: Carried::run(along, make) } }
    }
}

impl<F> Future for HandlerFuture<F>
where
    F: Future,
    F::Output: IntoSettlement,
{
    type Output = Result<Settlement, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            RunningProj::Rejected { error } => match error.take() {
                Some(error) => Poll::Ready(Err(error)),
                None => Poll::Pending,
            },
            RunningProj::Accepted { future } => future.poll(cx).map(IntoSettlement::into_settlement),
        }
    }
}

impl<F> fmt::Debug for HandlerFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HandlerFuture")
    }
}

macro_rules! handlers {
    ($($A:ident),* $(; $Last:ident)?) => {
        impl<F, Fut, S, $($A,)* $($Last)?> MessageHandler<($($A,)* $($Last,)?), S> for F
        where
            F: Fn($($A,)* $($Last)?) -> Fut + Clone + Send + 'static,
            Fut: Future + Send + 'static,
            Fut::Output: IntoSettlement,
            $($A: FromMessage<S>,)*
            $($Last: FromMessage<S>,)?
        {
            type Future = HandlerFuture<Fut>;

            #[allow(non_snake_case, unused_variables, reason = "the macro names values after their types")]
            fn call(&self, message: Message, state: &S) -> Self::Future {
                let along = carried(message.extensions());
                $(let $A = match $A::from_message(&message, state) {
                    Ok(value) => value,
                    Err(rejection) => return HandlerFuture::rejected(rejection.into()),
                };)*
                $(let $Last = match $Last::from_owned(message, state) {
                    Ok(value) => value,
                    Err(rejection) => return HandlerFuture::rejected(rejection.into()),
                };)?
                HandlerFuture::run(along, || self($($A,)* $($Last)?))
            }
        }
    };
}

/// Hands a macro every number of extractors that a handler may have, the last one apart.
macro_rules! every_arity {
    ($each:ident) => {
        $each!();
        $each!(; A1);
        $each!(A1; A2);
        $each!(A1, A2; A3);
        $each!(A1, A2, A3; A4);
        $each!(A1, A2, A3, A4; A5);
        $each!(A1, A2, A3, A4, A5; A6);
        $each!(A1, A2, A3, A4, A5, A6; A7);
        $each!(A1, A2, A3, A4, A5, A6, A7; A8);
    };
}
pub(super) use every_arity;

every_arity!(handlers);
