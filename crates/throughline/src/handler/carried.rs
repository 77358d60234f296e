//! A handler's future in the context of its message or batch, wherever it runs.

use opentelemetry::{Context, trace::TraceContextExt};
use pin_project_lite::pin_project;
use std::{
    future::Future,
    pin::Pin,
    task::{self, Poll},
};
use throughline_core::Extensions;
use throughline_trace::Trail;

pin_project! {
    #[project = CarriedProj]
    pub(crate) enum Carried<F> {
        Here { #[pin] future: F },
        // Below a buffer or a spawned task the context is not current: it is brought along.
        Along { #[pin] future: F, context: Context },
    }
}

/// The context that is to be brought along, if any.
pub(crate) type Along = Option<Context>;

impl<F> Carried<F> {
    /// Runs `make`, and the future it makes, in what is [`carried`], if anything is.
    pub(crate) fn run(along: Along, make: impl FnOnce() -> F) -> Self {
        match along {
            None => Carried::Here { future: make() },
            Some(context) => {
                let _current = context.clone().attach();
                Carried::Along { future: make(), context }
            }
        }
    }
}

impl<F: Future> Future for Carried<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<F::Output> {
        match self.project() {
            CarriedProj::Here { future } => future.poll(cx),
            CarriedProj::Along { future, context } => {
                let _current = context.clone().attach();
                future.poll(cx)
            }
        }
    }
}

/// The process context of a message or a batch, where it is not current.
pub(crate) fn carried(extensions: &Extensions) -> Along {
    let trail = extensions.get::<Trail>()?;
    Context::map_current(|now| !now.has_active_span()).then(|| trail.context().clone())
}
