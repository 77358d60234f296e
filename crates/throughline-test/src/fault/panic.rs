//! Calls that panic.

#![allow(clippy::panic, reason = "that is what it is for")]

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};
use tower_layer::Layer;
use tower_service::Service;

/// Where a [`PanicLayer`] panics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PanicIn {
    /// In `call`, before the inner service sees the request.
    Call,
    /// In a poll, the first one of the future.
    Poll,
    /// When the future is dropped, after it was polled to its end or before. Not while the thread unwinds already,
    /// which would end the process.
    Drop,
}

/// Makes every nth call panic.
#[derive(Clone, Debug)]
pub struct PanicLayer {
    place: PanicIn,
    every: u64,
    calls: Arc<AtomicU64>,
}

/// The service of a [`PanicLayer`].
#[derive(Clone, Debug)]
pub struct Panic<S> {
    inner: S,
    layer: PanicLayer,
}

impl PanicLayer {
    /// Every `n`th call panics there; none for 0.
    pub fn every(n: u64, place: PanicIn) -> Self {
        PanicLayer { place, every: n, calls: Arc::default() }
    }

    fn strikes(&self) -> bool {
        let call = self.calls.fetch_add(1, Ordering::AcqRel) + 1;
        self.every > 0 && call.is_multiple_of(self.every)
    }
}

impl<S> Layer<S> for PanicLayer {
    type Service = Panic<S>;

    fn layer(&self, inner: S) -> Panic<S> {
        Panic { inner, layer: self.clone() }
    }
}

impl<S: Service<R>, R> Service<R> for Panic<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    /// # Panics
    /// With [`PanicIn::Call`], when it is this call's turn.
    fn call(&mut self, request: R) -> Self::Future {
        let place = self.layer.strikes().then_some(self.layer.place);
        if place == Some(PanicIn::Call) {
            panic!("injected panic in call");
        }
        ResponseFuture {
            inner: self.inner.call(request),
            in_poll: place == Some(PanicIn::Poll),
            on_drop: Bomb(place == Some(PanicIn::Drop)),
        }
    }
}

pin_project_lite::pin_project! {
    /// The answer of a [`Panic`].
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        in_poll: bool,
        on_drop: Bomb,
    }
}

#[derive(Debug)]
struct Bomb(bool);

impl Drop for Bomb {
    fn drop(&mut self) {
        if self.0 && !std::thread::panicking() {
            panic!("injected panic in drop");
        }
    }
}

impl<F: Future> Future for ResponseFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        if std::mem::take(this.in_poll) {
            panic!("injected panic in poll");
        }
        Poll::Ready(ready!(this.inner.poll(cx)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::tests_support::{Echo, block_on};
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn each_place_panics_in_its_turn_and_only_there() {
        for place in [PanicIn::Call, PanicIn::Poll, PanicIn::Drop] {
            let mut service = PanicLayer::every(2, place).layer(Echo);
            assert_eq!(block_on(service.call(1)).unwrap(), 1, "the first is not its turn");
            let call = catch_unwind(AssertUnwindSafe(|| service.call(2)));
            let Ok(future) = call else {
                assert_eq!(place, PanicIn::Call);
                continue;
            };
            // Dropped unpolled, so that a panic in a poll would not be seen, and one in drop is.
            let dropped = catch_unwind(AssertUnwindSafe(|| drop(future)));
            assert_eq!(dropped.is_err(), place == PanicIn::Drop);
            drop(service.call(3));
            let polled = catch_unwind(AssertUnwindSafe(|| block_on(service.call(4))));
            assert!(polled.is_err(), "{place:?}");
        }
    }
}
