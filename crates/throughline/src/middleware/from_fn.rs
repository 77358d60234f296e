//! A middleware from an async fn.

use futures_util::{FutureExt, future::Map};
use std::{
    fmt,
    future::Future,
    task::{Context, Poll},
};
use throughline_core::{BoxError, IntoSettlement, Message, Settlement};
use tower::{ServiceExt, util::BoxCloneSyncService};
use tower_layer::Layer;
use tower_service::Service;

type Answer = Result<Settlement, BoxError>;

/// Makes a layer of an async fn that is given the message and the rest of the stack.
///
/// ```
/// use throughline::{BoxError, Message, Next, Settlement, from_fn, handler};
/// use tower::{Layer, ServiceExt};
///
/// async fn audit(message: Message, next: Next) -> Result<Settlement, BoxError> {
///     let size = message.payload().len();
///     let answer = next.run(message).await;
///     println!("{size} bytes: {answer:?}");
///     answer
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let stack = from_fn(audit).layer(handler(|_: Message| async {}));
/// assert_eq!(stack.oneshot(Message::new("hello")).await.unwrap(), Settlement::Ack);
/// # }
/// ```
///
/// The rest of the stack must be `Clone`, since the function may run it later, or twice; put a
/// [`ShareLayer`](crate::ShareLayer) below for what is not. Costs a box for the rest and one for its future.
pub fn from_fn<F, Fut>(f: F) -> FromFnLayer<F>
where
    F: Fn(Message, Next) -> Fut + Clone,
    Fut: Future + Send + 'static,
    Fut::Output: IntoSettlement,
{
    FromFnLayer(f)
}

/// The rest of the stack, below a [`from_fn`] middleware.
#[derive(Debug)]
pub struct Next(BoxCloneSyncService<Message, Settlement, BoxError>);

impl Next {
    /// Runs it.
    ///
    /// # Errors
    /// Whatever the rest of the stack answers.
    pub async fn run(self, message: Message) -> Answer {
        self.0.oneshot(message).await
    }
}

/// The layer of [`from_fn`].
#[derive(Clone)]
pub struct FromFnLayer<F>(F);

/// The service of a [`FromFnLayer`].
#[derive(Clone)]
pub struct FromFn<F> {
    f: F,
    rest: BoxCloneSyncService<Message, Settlement, BoxError>,
}

// === impl FromFnLayer ===

impl<F: Clone, S> Layer<S> for FromFnLayer<F>
where
    S: Service<Message> + Clone + Send + Sync + 'static,
    S::Response: IntoSettlement,
    S::Error: Into<BoxError>,
    S::Future: Send,
{
    type Service = FromFn<F>;

    fn layer(&self, rest: S) -> FromFn<F> {
        FromFn { f: self.0.clone(), rest: BoxCloneSyncService::new(Uniform(rest)) }
    }
}

// === impl FromFn ===

impl<F, Fut> Service<Message> for FromFn<F>
where
    F: Fn(Message, Next) -> Fut,
    Fut: Future + Send + 'static,
    Fut::Output: IntoSettlement,
{
    type Response = Settlement;
    type Error = BoxError;
    type Future = Map<Fut, fn(Fut::Output) -> Answer>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(())) // that of the rest is awaited by `Next::run`
    }

    fn call(&mut self, message: Message) -> Self::Future {
        (self.f)(message, Next(self.rest.clone())).map(IntoSettlement::into_settlement as fn(_) -> _)
    }
}

/// One answer and one error type for every stack. tower's `map_result` asks `BoxError: From<S::Error>`, which
/// `S::Error: Into<BoxError>` does not give.
#[derive(Clone)]
struct Uniform<S>(S);

impl<S> Service<Message> for Uniform<S>
where
    S: Service<Message>,
    S::Response: IntoSettlement,
    S::Error: Into<BoxError>,
    S::Future: Send,
{
    type Response = Settlement;
    type Error = BoxError;
    type Future = Map<S::Future, fn(Result<S::Response, S::Error>) -> Answer>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, message: Message) -> Self::Future {
        self.0.call(message).map(IntoSettlement::into_settlement as fn(_) -> _)
    }
}

impl<F> fmt::Debug for FromFnLayer<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FromFnLayer")
    }
}

impl<F> fmt::Debug for FromFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromFn").field("rest", &self.rest).finish()
    }
}
