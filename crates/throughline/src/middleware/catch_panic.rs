//! A panic becomes an error: in `call`, in `poll`, in drop.

use pin_project_lite::pin_project;
use std::{
    any::Any,
    error::Error,
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};
use throughline_core::BoxError;
use tower_layer::Layer;
use tower_service::Service;

/// The handler, or a layer around it, panicked. It costs one message, never the worker.
#[derive(Debug)]
pub struct Panicked(String);

impl Panicked {
    pub(crate) fn new(payload: Box<dyn Any + Send>) -> Self {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        Panicked(text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default())
    }
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "handler panicked: {}", self.0)
    }
}

impl Error for Panicked {}

/// Turns a panic of the inner service into an `Err` that holds [`Panicked`].
///
/// A worker has one around the user's whole stack, so that a panic is settled like any error. Put another inside a
/// retry to make panics retryable.
#[derive(Clone, Copy, Debug, Default)]
pub struct CatchPanicLayer;

impl<S> Layer<S> for CatchPanicLayer {
    type Service = CatchPanic<S>;

    fn layer(&self, inner: S) -> CatchPanic<S> {
        CatchPanic(inner)
    }
}

/// The service of a [`CatchPanicLayer`].
#[derive(Clone, Debug)]
pub struct CatchPanic<S>(S);

// === impl CatchPanic ===

impl<S, R> Service<R> for CatchPanic<S>
where
    S: Service<R>,
    S::Error: Into<BoxError>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = CatchPanicFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: R) -> Self::Future {
        match catch_unwind(AssertUnwindSafe(|| self.0.call(request))) {
            Ok(future) => CatchPanicFuture { inner: Some(future), panicked: None },
            Err(payload) => CatchPanicFuture { inner: None, panicked: Some(Panicked::new(payload)) },
        }
    }
}

pin_project! {
    /// The future of a [`CatchPanic`].
    pub struct CatchPanicFuture<F> {
        #[pin]
        inner: Option<F>,
        panicked: Option<Panicked>,
    }

    impl<F> PinnedDrop for CatchPanicFuture<F> {
        fn drop(this: Pin<&mut Self>) {
            // Cancelled: there is nobody left to tell of a panic in the drop.
            let _ = close(this.project().inner);
        }
    }
}

/// Drops the future inside; an error is a panic in that.
fn close<F>(mut inner: Pin<&mut Option<F>>) -> Result<(), Panicked> {
    if inner.is_none() {
        return Ok(());
    }
    catch_unwind(AssertUnwindSafe(|| inner.set(None))).map_err(Panicked::new)
}

impl<F, Res, E> Future for CatchPanicFuture<F>
where
    F: Future<Output = Result<Res, E>>,
    E: Into<BoxError>,
{
    type Output = Result<Res, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(panicked) = this.panicked.take() {
            return Poll::Ready(Err(panicked.into()));
        }
        let Some(inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Pending };
        let polled = catch_unwind(AssertUnwindSafe(|| inner.poll(cx)));
        let output = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(output)) => output.map_err(Into::into),
            Err(payload) => Err(Panicked::new(payload).into()),
        };
        // Dropped here, where a panic in it can still be told.
        match close(this.inner) {
            Err(panicked) if output.is_ok() => Poll::Ready(Err(panicked.into())),
            _ => Poll::Ready(output),
        }
    }
}

impl<F> fmt::Debug for CatchPanicFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CatchPanicFuture")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use tower::{ServiceExt, service_fn};

    async fn outcome<F>(work: impl Fn() -> F + Clone) -> Result<(), String>
    where
        F: Future<Output = Result<(), Infallible>>,
    {
        let service = CatchPanicLayer.layer(service_fn(move |()| work()));
        service.oneshot(()).await.map_err(|e| e.to_string())
    }

    struct PanicsInDrop;
    impl Drop for PanicsInDrop {
        fn drop(&mut self) {
            panic!("in drop");
        }
    }

    /// Ready at once; what it holds is dropped with it.
    struct Ready(#[allow(dead_code, reason = "held for its drop")] PanicsInDrop);
    impl Future for Ready {
        type Output = Result<(), Infallible>;
        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn a_panic_in_call_in_poll_and_in_drop_is_an_error() {
        let call = outcome(|| -> std::future::Ready<Result<(), Infallible>> { panic!("in call") }).await;
        assert_eq!(call, Err("handler panicked: in call".into()));
        let poll = outcome(|| async { panic!("in {}", "poll") }).await;
        assert_eq!(poll, Err("handler panicked: in poll".into()));
        let drop = outcome(|| Ready(PanicsInDrop)).await;
        assert_eq!(drop, Err("handler panicked: in drop".into()));
        assert_eq!(outcome(|| async { Ok(()) }).await, Ok(()));
    }

    #[tokio::test]
    async fn a_panic_in_the_drop_of_a_cancelled_call_goes_no_further() {
        let mut service = CatchPanicLayer.layer(service_fn(|()| async {
            let _held = PanicsInDrop;
            std::future::pending::<Result<(), Infallible>>().await
        }));
        let mut future = Box::pin(service.call(()));
        assert!(futures_util::poll!(&mut future).is_pending());
        drop(future);
    }
}
