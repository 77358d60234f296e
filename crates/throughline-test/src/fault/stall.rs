//! Calls that wait until they are let go.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::sync::watch;
use tower_layer::Layer;
use tower_service::Service;

/// Holds every call before its future is first polled, until its [`Gate`] is open.
///
/// ```
/// use throughline_test::fault::StallLayer;
///
/// let (layer, gate) = StallLayer::new();
/// // .. a worker with the layer in its stack holds its handlers ..
/// gate.open();
/// # let _ = layer;
/// ```
#[derive(Clone, Debug)]
pub struct StallLayer(Gate);

/// Opens and closes a [`StallLayer`]. It is closed at first.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Shared>);

/// The service of a [`StallLayer`].
#[derive(Clone, Debug)]
pub struct Stall<S> {
    inner: S,
    gate: Gate,
}

#[derive(Debug)]
struct Shared {
    open: watch::Sender<bool>,
    held: watch::Sender<usize>,
}

impl StallLayer {
    /// A layer and its gate, closed.
    #[allow(clippy::new_ret_no_self, reason = "a layer without its gate could never be opened")]
    pub fn new() -> (StallLayer, Gate) {
        let gate = Gate(Arc::new(Shared { open: watch::Sender::new(false), held: watch::Sender::new(0) }));
        (StallLayer(gate.clone()), gate)
    }
}

impl Gate {
    /// Lets go what is held, and what comes.
    pub fn open(&self) {
        self.0.open.send_replace(true);
    }

    /// Holds what comes from now on.
    pub fn close(&self) {
        self.0.open.send_replace(false);
    }

    /// How many calls it holds.
    pub fn held(&self) -> usize {
        *self.0.held.borrow()
    }

    /// Waits until it holds at least so many.
    pub async fn until_held(&self, calls: usize) {
        // The sender is in `self`, so the wait can only end by coming true.
        let _ = self.0.held.subscribe().wait_for(|held| *held >= calls).await;
    }
}

/// One call that is held; counted for as long as it is.
struct Held(Gate);

impl Held {
    fn new(gate: &Gate) -> Self {
        gate.0.held.send_modify(|held| *held += 1);
        Held(gate.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.0.held.send_modify(|held| *held -= 1);
    }
}

impl<S> Layer<S> for StallLayer {
    type Service = Stall<S>;

    fn layer(&self, inner: S) -> Stall<S> {
        Stall { inner, gate: self.0.clone() }
    }
}

impl<S: Service<R>, R> Service<R> for Stall<S>
where
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let (inner, gate) = (self.inner.call(request), self.gate.clone());
        Box::pin(async move {
            let held = Held::new(&gate);
            let _ = gate.0.open.subscribe().wait_for(|open| *open).await;
            drop(held);
            inner.await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::tests_support::{Echo, block_on};

    #[test]
    fn calls_are_held_until_the_gate_opens() {
        block_on(async {
            let (layer, gate) = StallLayer::new();
            let mut service = layer.layer(Echo);
            let mut calls = tokio::task::JoinSet::new();
            calls.spawn(service.call(1));
            calls.spawn(service.call(2));
            gate.until_held(2).await;
            assert!(calls.try_join_next().is_none());
            gate.open();
            while let Some(answer) = calls.join_next().await {
                answer.unwrap().unwrap();
            }
            assert_eq!(gate.held(), 0);
            assert_eq!(service.call(3).await.unwrap(), 3, "an open gate holds nothing");
        });
    }

    #[test]
    fn a_cancelled_call_is_no_longer_held() {
        block_on(async {
            let (layer, gate) = StallLayer::new();
            let mut service = layer.layer(Echo);
            let mut calls = tokio::task::JoinSet::new();
            calls.spawn(service.call(1));
            gate.until_held(1).await;
            calls.shutdown().await;
            assert_eq!(gate.held(), 0);
        });
    }
}
