//! The future of both layers: keeps the context current and ends the span exactly once.

use crate::{Classify, Failure, Trail, metrics::Measuring, semconv, template::Template, trail::Outcome};
use opentelemetry::{
    Context, ContextGuard, KeyValue,
    baggage::BaggageExt,
    trace::{SpanRef, Status, TraceContextExt},
};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{self, Poll, ready},
};
use throughline_core::Extensions;

pin_project! {
    /// The future of [`Tracing`](crate::Tracing) and [`Mirror`](crate::Mirror).
    ///
    /// The context is current on every poll and while the inner future is dropped. The span ends once: with the
    /// result, else when this future is dropped, as `cancelled`, or as `panic` if the inner one panicked.
    pub struct ResponseFuture<F, C> {
        // Dropped by us, under its context, before the ending.
        #[pin]
        inner: Option<F>,
        ending: Ending,
        classify: C,
    }

    impl<F, C> PinnedDrop for ResponseFuture<F, C> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if this.inner.is_some() {
                let _current = this.ending.enter();
                this.ending.guarded(|| this.inner.set(None));
            }
        }
    }
}

/// Ends one span: with a result, or when dropped.
pub(crate) struct Ending {
    /// What is current meanwhile; `None` if there is nothing, which only hides what is somebody else's.
    context: Option<Context>,
    /// Whether there is a span of ours in the context, which is not ended yet.
    open: bool,
    panicked: bool,
    /// For the send span: what names the broker's receipt.
    template: Option<Arc<Template>>,
    /// For the process span: where the trail is.
    extensions: Option<Extensions>,
    /// Recorded together with the span, and also where there is none.
    measuring: Option<Measuring>,
}

impl<F, C> ResponseFuture<F, C> {
    /// Calls the inner service under the span's context; a panic in the call ends the span.
    #[inline]
    pub(crate) fn call(mut ending: Ending, classify: C, call: impl FnOnce() -> F) -> Self {
        let inner = {
            let _current = ending.enter();
            ending.guarded(call)
        };
        ResponseFuture { inner: Some(inner), ending, classify }
    }
}

impl<F, C, Res, E> Future for ResponseFuture<F, C>
where
    F: Future<Output = Result<Res, E>>,
    C: Classify<Res, E>,
{
    type Output = Result<Res, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let result = {
            let _current = this.ending.enter();
            this.ending.panicked = true;
            let polled = match this.inner.as_mut().as_pin_mut() {
                Some(inner) => inner.poll(cx),
                // The contract of futures: nobody polls again. Nothing sensible could be answered.
                None => Poll::Pending,
            };
            let result = match polled {
                Poll::Ready(result) => Poll::Ready(result),
                Poll::Pending => {
                    this.ending.panicked = false;
                    Poll::Pending
                }
            };
            let result = ready!(result);
            this.inner.set(None);
            this.ending.panicked = false;
            result
        };
        this.ending.finish(&result, this.classify);
        Poll::Ready(result)
    }
}

impl Ending {
    /// Of a span that was started for a delivery; without a span the context is only kept current, if there is one.
    #[inline(always)]
    pub(crate) fn process(context: Option<Context>, open: bool, extensions: Option<Extensions>) -> Self {
        Ending { context, open, panicked: false, template: None, extensions, measuring: None }
    }

    /// Of a span that was started for a send.
    #[inline]
    pub(crate) fn send(context: Context, template: Option<Arc<Template>>) -> Self {
        let (context, open) = (Some(context), template.is_some());
        Ending { context, open, panicked: false, template, extensions: None, measuring: None }
    }

    /// Measured as well.
    #[inline(always)]
    pub(crate) fn measured(mut self, measuring: Option<Measuring>) -> Self {
        self.measuring = measuring;
        self
    }

    /// Makes the context current; an empty one only where that hides somebody else's span or baggage.
    #[inline]
    fn enter(&self) -> Option<ContextGuard> {
        let context = match &self.context {
            Some(context) => context.clone(),
            None if Context::map_current(|now| !now.has_active_span() && now.baggage().is_empty()) => {
                return None;
            }
            None => Context::new(),
        };
        Some(context.attach())
    }

    /// Should `work` panic, the span ends as such.
    #[inline]
    fn guarded<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let before = std::mem::replace(&mut self.panicked, true);
        let done = work();
        self.panicked = before;
        done
    }

    #[inline]
    fn finish<Res, E, C: Classify<Res, E>>(&mut self, result: &Result<Res, E>, classify: &C) {
        if self.open || self.measuring.is_some() {
            if self.open
                && let Some(template) = &self.template
                && let Some(receipt) = classify.receipt(result)
                && let Some(context) = &self.context
            {
                context.span().set_attributes(template.receipt(receipt));
            }
            self.end(classify.failure(result));
        }
    }

    fn end(&mut self, failure: Option<Failure>) {
        let open = std::mem::take(&mut self.open);
        let extensions = self.extensions.take();
        let trail = extensions.as_ref().and_then(|extensions| extensions.get::<Trail>());
        if let Some(measuring) = self.measuring.take() {
            let retries = trail.map_or(0, |trail| trail.attempts().saturating_sub(1));
            measuring.end(failure.as_ref().map(|failure| &*failure.error_type), retries);
        }
        if !open {
            return; // the span in the context is somebody else's
        }
        if let Some(trail) = trail {
            trail.process_ended(if failure.is_some() { Outcome::Surfaced } else { Outcome::Absorbed });
        }
        if let Some(context) = &self.context {
            let span = context.span();
            if let Some(failure) = failure {
                record(&span, failure);
            }
            span.end();
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if self.open || self.measuring.is_some() {
            self.end(Some(Failure::new(if self.panicked { "panic" } else { "cancelled" })));
        }
    }
}

/// Error status and `error.type`.
pub(crate) fn record(span: &SpanRef<'_>, failure: Failure) {
    span.set_attribute(KeyValue::new(semconv::ERROR_TYPE, failure.error_type));
    span.set_status(Status::error(failure.description.unwrap_or_default()));
}

impl<F, C> fmt::Debug for ResponseFuture<F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").field("context", &self.ending.context).finish_non_exhaustive()
    }
}
