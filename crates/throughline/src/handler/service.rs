//! A handler as the innermost service of a stack.

use super::MessageHandler;
use std::{
    fmt,
    marker::PhantomData,
    task::{Context, Poll},
};
use throughline_core::{BoxError, Message, Settlement};
use tower_service::Service;

/// Makes a service of an async fn.
///
/// ```
/// use throughline::{Json, Message, Settlement, handler};
/// use tower::ServiceExt;
///
/// async fn double(Json(number): Json<u32>) -> Result<(), std::num::TryFromIntError> {
///     let _half = u8::try_from(number)?;
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let service = handler(double);
/// assert_eq!(service.clone().oneshot(Message::new("7")).await.unwrap(), Settlement::Ack);
/// assert!(service.clone().oneshot(Message::new("700")).await.is_err());
/// assert!(service.oneshot(Message::new("seven")).await.is_err());
/// # }
/// ```
pub fn handler<F, T>(f: F) -> HandlerService<F, T, ()>
where
    F: MessageHandler<T, ()>,
{
    HandlerService { f, state: (), extractors: PhantomData }
}

/// Makes a service of an async fn and a value that [`State`](crate::State) hands to each call.
pub fn handler_with<F, T, S>(state: S, f: F) -> HandlerService<F, T, S>
where
    F: MessageHandler<T, S>,
{
    HandlerService { f, state, extractors: PhantomData }
}

/// The service of [`handler`] and [`handler_with`].
pub struct HandlerService<F, T, S> {
    f: F,
    state: S,
    extractors: PhantomData<fn(T)>,
}

// === impl HandlerService ===

impl<F, T, S> Service<Message> for HandlerService<F, T, S>
where
    F: MessageHandler<T, S>,
{
    type Response = Settlement;
    type Error = BoxError;
    type Future = F::Future;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, message: Message) -> Self::Future {
        self.f.call(message, &self.state)
    }
}

impl<F: Clone, T, S: Clone> Clone for HandlerService<F, T, S> {
    fn clone(&self) -> Self {
        HandlerService { f: self.f.clone(), state: self.state.clone(), extractors: PhantomData }
    }
}

impl<F, T, S> fmt::Debug for HandlerService<F, T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HandlerService")
    }
}
