//! Calls that fail.

use std::{
    error::Error,
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};
use throughline_core::BoxError;
use tower_layer::Layer;
use tower_service::Service;

/// Makes calls fail with [`Injected`] before they reach the inner service.
///
/// ```
/// use throughline_test::fault::FailLayer;
///
/// let twice_then_well = FailLayer::first(2);
/// let one_in_ten = FailLayer::every(10);
/// # let _ = (twice_then_well, one_in_ten);
/// ```
#[derive(Clone, Debug)]
pub struct FailLayer {
    which: Which,
    calls: Arc<AtomicU64>,
}

/// The service of a [`FailLayer`].
#[derive(Clone, Debug)]
pub struct Fail<S> {
    inner: S,
    layer: FailLayer,
}

/// The error of a call that a [`FailLayer`] made fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Injected;

#[derive(Clone, Copy, Debug)]
enum Which {
    First(u64),
    Every(u64),
}

impl FailLayer {
    /// The first `n` calls fail.
    pub fn first(n: u64) -> Self {
        FailLayer { which: Which::First(n), calls: Arc::default() }
    }

    /// Every `n`th call fails; none for 0.
    pub fn every(n: u64) -> Self {
        FailLayer { which: Which::Every(n), calls: Arc::default() }
    }

    /// How many calls there were so far, failed ones included.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Acquire)
    }

    fn strikes(&self) -> bool {
        let call = self.calls.fetch_add(1, Ordering::AcqRel) + 1;
        match self.which {
            Which::First(n) => call <= n,
            Which::Every(n) => n > 0 && call.is_multiple_of(n),
        }
    }
}

impl<S> Layer<S> for FailLayer {
    type Service = Fail<S>;

    fn layer(&self, inner: S) -> Fail<S> {
        Fail { inner, layer: self.clone() }
    }
}

impl<S, R> Service<R> for Fail<S>
where
    S: Service<R>,
    S::Error: Into<BoxError>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = FailFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let inner = if self.layer.strikes() { None } else { Some(self.inner.call(request)) };
        FailFuture { inner }
    }
}

pin_project_lite::pin_project! {
    /// The answer of a [`Fail`].
    #[derive(Debug)]
    pub struct FailFuture<F> {
        // `None` for a call that fails.
        #[pin]
        inner: Option<F>,
    }
}

impl<F, T, E> Future for FailFuture<F>
where
    F: Future<Output = Result<T, E>>,
    E: Into<BoxError>,
{
    type Output = Result<T, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().inner.as_pin_mut() {
            Some(inner) => inner.poll(cx).map_err(Into::into),
            None => Poll::Ready(Err(Injected.into())),
        }
    }
}

impl fmt::Display for Injected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("injected failure")
    }
}

impl Error for Injected {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::tests_support::{Echo, block_on};

    fn failures(layer: FailLayer) -> Vec<bool> {
        let mut service = layer.layer(Echo);
        let mut other = service.clone();
        (0..6)
            .map(|n| block_on(if n % 2 == 0 { service.call(n) } else { other.call(n) }))
            .map(|answer| answer.is_err_and(|error| error.is::<Injected>()))
            .collect()
    }

    #[test]
    fn the_first_calls_fail_over_all_clones() {
        assert_eq!(failures(FailLayer::first(3)), [true, true, true, false, false, false]);
    }

    #[test]
    fn every_nth_call_fails_and_none_for_zero() {
        assert_eq!(failures(FailLayer::every(3)), [false, false, true, false, false, true]);
        assert_eq!(failures(FailLayer::every(0)), [false; 6]);
    }
}
