//! A service that is not `Clone`, made `Clone`.

use futures_util::future::{BoxFuture, poll_fn};
use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::sync::Mutex;
use tower_layer::Layer;
use tower_service::Service;

/// Lets the clones of a stack share one inner service, such as tower's `RateLimit` below a retry.
///
/// A fair lock is held while the inner service becomes ready and is called, not while its future runs. Unlike tower's
/// `Buffer` there is no task that can die, and the trace context stays current; but it always says that it is ready,
/// so that waiting happens inside `call`.
#[derive(Clone, Copy, Debug, Default)]
pub struct ShareLayer;

impl<S> Layer<S> for ShareLayer {
    type Service = Share<S>;

    fn layer(&self, inner: S) -> Share<S> {
        Share(Arc::new(Mutex::new(inner)))
    }
}

/// The service of a [`ShareLayer`].
pub struct Share<S>(Arc<Mutex<S>>);

// === impl Share ===

impl<S> Clone for Share<S> {
    fn clone(&self) -> Self {
        Share(self.0.clone())
    }
}

impl<S, R> Service<R> for Share<S>
where
    S: Service<R> + Send + 'static,
    S::Future: Send,
    R: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> Self::Future {
        let shared = self.0.clone();
        Box::pin(async move {
            let future = {
                let mut inner = shared.lock().await;
                poll_fn(|cx| inner.poll_ready(cx)).await?;
                inner.call(request)
            };
            future.await
        })
    }
}

impl<S> fmt::Debug for Share<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Share")
    }
}
