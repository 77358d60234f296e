//! `AttemptLayer`: makes each retry visible.

use crate::{Classify, Failure, OnError, Trail};
use opentelemetry::{Context, trace::TraceContextExt};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{self, Poll, ready},
};
use throughline_core::{Extensions, Inbound};
use tower_layer::Layer;
use tower_service::Service;

/// Goes **inside** a retry (tower's own, or any other): the first try is the process span itself, each later one an
/// INTERNAL span below it that links to the try before.
///
/// Tries are counted in the message's [`Trail`], which its clones share, so any policy works. A try that fails and is
/// followed by another keeps the status unset, with what it failed with in `throughline.attempt.error`; only the
/// failure that the delivery ends with is an error. A stack that never retries pays no span.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct AttemptLayer;

/// The service of [`AttemptLayer`].
#[derive(Clone, Debug)]
pub struct Attempt<S> {
    inner: S,
}

pin_project! {
    /// The future of [`Attempt`].
    pub struct AttemptFuture<F> {
        // Dropped by us, under its context, before the ending.
        #[pin]
        inner: Option<F>,
        open: Option<Open>,
    }

    impl<F> PinnedDrop for AttemptFuture<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if let Some(open) = this.open.as_mut() {
                let _current = open.context.clone().attach();
                let before = std::mem::replace(&mut open.panicked, true);
                this.inner.set(None);
                open.panicked = before;
            }
        }
    }
}

/// The span of one try; ends as cancelled if dropped.
struct Open {
    context: Context,
    extensions: Extensions,
    panicked: bool,
    ended: bool,
}

impl AttemptLayer {
    /// The layer; it has no settings.
    pub fn new() -> Self {
        AttemptLayer
    }
}

impl<S> Layer<S> for AttemptLayer {
    type Service = Attempt<S>;

    fn layer(&self, inner: S) -> Attempt<S> {
        Attempt { inner }
    }
}

impl<S, R, Res, E> Service<R> for Attempt<S>
where
    S: Service<R, Response = Res, Error = E>,
    R: Inbound,
    Res: 'static,
    E: fmt::Display + 'static,
{
    type Response = Res;
    type Error = E;
    type Future = AttemptFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<(), E>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: R) -> Self::Future {
        let open = request.extensions_mut().and_then(|extensions| {
            let context = extensions.get::<Trail>()?.next_try()?;
            Some(Open { context, extensions: extensions.clone(), panicked: false, ended: false })
        });
        let Some(mut open) = open else {
            return AttemptFuture { inner: Some(self.inner.call(request)), open: None };
        };
        let inner = {
            let _current = open.context.clone().attach();
            open.panicked = true;
            let inner = self.inner.call(request);
            open.panicked = false;
            inner
        };
        AttemptFuture { inner: Some(inner), open: Some(open) }
    }
}

impl<F, Res, E> Future for AttemptFuture<F>
where
    F: Future<Output = Result<Res, E>>,
    Res: 'static,
    E: fmt::Display + 'static,
{
    type Output = Result<Res, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Pending };
        let Some(open) = this.open.as_mut() else { return inner.poll(cx) };
        let result = {
            let _current = open.context.clone().attach();
            open.panicked = true;
            let polled = inner.poll(cx);
            open.panicked = polled.is_ready();
            let result = ready!(polled);
            this.inner.set(None);
            open.panicked = false;
            result
        };
        open.end(OnError.failure(&result));
        Poll::Ready(result)
    }
}

impl Open {
    fn end(&mut self, failure: Option<Failure>) {
        self.ended = true;
        match (failure, self.extensions.get::<Trail>()) {
            (Some(failure), Some(trail)) => trail.try_failed(self.context.clone(), failure),
            (_, _) => self.context.span().end(),
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if !self.ended {
            self.end(Some(Failure::new(if self.panicked { "panic" } else { "cancelled" })));
        }
    }
}

impl<F> fmt::Debug for AttemptFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AttemptFuture")
    }
}
