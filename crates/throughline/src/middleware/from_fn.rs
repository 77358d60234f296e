//! A middleware from an async fn.

use futures_util::{FutureExt, future::Map};
use std::{
    fmt,
    future::Future,
    marker::PhantomData,
    task::{Context, Poll},
};
use throughline_core::{Answers, Batch, BoxError, IntoAnswers, IntoSettlement, Message, Settlement};
use tower::{ServiceExt, util::BoxCloneSyncService};
use tower_layer::Layer;
use tower_service::Service;

/// What a stack handles in one call: a [`Message`] or a [`Batch`].
pub trait Request: Send + 'static {
    /// What such a call comes to.
    type Answer: Send + 'static;
}

impl Request for Message {
    type Answer = Settlement;
}

impl Request for Batch {
    type Answer = Answers;
}

/// What a call with this request may be answered with: [`IntoSettlement`] for a message, [`IntoAnswers`] for a batch.
pub trait AnswerTo<R: Request> {
    /// An error is a failure of the call.
    fn answer_to(self) -> Result<R::Answer, BoxError>;
}

impl<T: IntoSettlement> AnswerTo<Message> for T {
    fn answer_to(self) -> Result<Settlement, BoxError> {
        self.into_settlement()
    }
}

impl<T: IntoAnswers> AnswerTo<Batch> for T {
    fn answer_to(self) -> Result<Answers, BoxError> {
        self.into_answers()
    }
}

type Answer<R> = Result<<R as Request>::Answer, BoxError>;

/// Makes a layer of an async fn that is given the message, or the batch, and the rest of the stack.
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
///
/// Around batches it takes a `Batch` and a `Next<Batch>`.
pub fn from_fn<F, Fut, R>(f: F) -> FromFnLayer<F, R>
where
    F: Fn(R, Next<R>) -> Fut + Clone,
    Fut: Future + Send + 'static,
    Fut::Output: AnswerTo<R>,
    R: Request,
{
    FromFnLayer { f, request: PhantomData }
}

/// The rest of the stack, below a [`from_fn`] middleware.
#[derive(Debug)]
pub struct Next<R: Request = Message>(BoxCloneSyncService<R, R::Answer, BoxError>);

impl<R: Request> Next<R> {
    /// Runs it.
    ///
    /// # Errors
    /// Whatever the rest of the stack answers.
    pub async fn run(self, request: R) -> Answer<R> {
        self.0.oneshot(request).await
    }
}

/// The layer of [`from_fn`].
pub struct FromFnLayer<F, R = Message> {
    f: F,
    request: PhantomData<fn(R)>,
}

/// The service of a [`FromFnLayer`].
pub struct FromFn<F, R: Request = Message> {
    f: F,
    rest: BoxCloneSyncService<R, R::Answer, BoxError>,
}

impl<F: Clone, R> Clone for FromFnLayer<F, R> {
    fn clone(&self) -> Self {
        FromFnLayer { f: self.f.clone(), request: PhantomData }
    }
}

impl<F: Clone, R: Request> Clone for FromFn<F, R> {
    fn clone(&self) -> Self {
        FromFn { f: self.f.clone(), rest: self.rest.clone() }
    }
}

// === impl FromFnLayer ===

impl<F, S, R> Layer<S> for FromFnLayer<F, R>
where
    F: Clone,
    R: Request,
    S: Service<R> + Clone + Send + Sync + 'static,
    S::Response: AnswerTo<R>,
    S::Error: Into<BoxError>,
    S::Future: Send,
{
    type Service = FromFn<F, R>;

    fn layer(&self, rest: S) -> FromFn<F, R> {
        FromFn { f: self.f.clone(), rest: BoxCloneSyncService::new(Uniform(rest)) }
    }
}

// === impl FromFn ===

impl<F, Fut, R> Service<R> for FromFn<F, R>
where
    F: Fn(R, Next<R>) -> Fut,
    Fut: Future + Send + 'static,
    Fut::Output: AnswerTo<R>,
    R: Request,
{
    type Response = R::Answer;
    type Error = BoxError;
    type Future = Map<Fut, fn(Fut::Output) -> Answer<R>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(())) // that of the rest is awaited by `Next::run`
    }

    fn call(&mut self, request: R) -> Self::Future {
        (self.f)(request, Next(self.rest.clone())).map(AnswerTo::answer_to as fn(_) -> _)
    }
}

/// One answer and one error type for every stack. tower's `map_result` asks `BoxError: From<S::Error>`, which
/// `S::Error: Into<BoxError>` does not give.
#[derive(Clone)]
struct Uniform<S>(S);

impl<S, R> Service<R> for Uniform<S>
where
    R: Request,
    S: Service<R>,
    S::Response: AnswerTo<R>,
    S::Error: Into<BoxError>,
    S::Future: Send,
{
    type Response = R::Answer;
    type Error = BoxError;
    type Future = Map<S::Future, fn(Result<S::Response, S::Error>) -> Answer<R>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: R) -> Self::Future {
        self.0.call(request).map(uniform::<R, _, _> as fn(_) -> _)
    }
}

fn uniform<R: Request, T: AnswerTo<R>, E: Into<BoxError>>(result: Result<T, E>) -> Answer<R> {
    result.map_err(Into::into)?.answer_to()
}

impl<F, R> fmt::Debug for FromFnLayer<F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FromFnLayer")
    }
}

impl<F, R: Request> fmt::Debug for FromFn<F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromFn").field("rest", &self.rest).finish()
    }
}
