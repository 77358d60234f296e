//! The receiving side of an adapter.

use crate::{Capacity, Delivery, Demand, Error, Observer, Redelivery, Settler};
use std::{future::Future, time::Instant};

/// A configured subscription: a factory of sources, so that a restart connects afresh and replicas get one each.
pub trait Subscription: Send + Sync + 'static {
    /// What it makes.
    type Source: Source;

    /// Connects. `demand` and `observer` are this source's own, for its whole life.
    ///
    /// # Errors
    /// Everything that can be known at start (unknown topic, refused credentials, unreachable servers, a bad
    /// setting) is said here. The worker retries with backoff and gives up after its bound of restarts.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the attempt.
    fn subscribe(
        &self,
        demand: Demand,
        observer: Observer,
    ) -> impl Future<Output = Result<Self::Source, Error>> + Send;

    /// Who delivers a nacked message again.
    fn redelivery(&self) -> Redelivery;

    /// Whether it can only be consumed by a worker of batches in the order of each partition. Default no.
    fn in_order(&self) -> bool {
        false
    }

    /// How much a worker of this concurrency may hold in all: running, waiting in a lane, parked for a retry.
    fn capacity(&self, in_flight: usize) -> Capacity;
}

/// A connected source of deliveries.
pub trait Source: Send + 'static {
    /// Who takes the answers.
    type Settler: Settler;

    /// Waits for deliveries: as many as there are, and no more than [`Demand::free`] allows at that moment. An empty
    /// answer means that nothing more will come: [`Demand::stopping`] was seen, or the subscription ended.
    ///
    /// # Cancel safety
    /// Need not be: the worker never drops this future before it resolves. Pause, drain and "more room" are said
    /// through [`Demand`], which the source looks at and waits on.
    ///
    /// # Errors
    /// Ends the source; the worker builds a new one with backoff. What heals by itself is not an error here but an
    /// [`Event::Reconnecting`](crate::Event::Reconnecting).
    fn receive(&mut self) -> impl Future<Output = Result<Vec<Delivery<Self::Settler>>, Error>> + Send;

    /// Sends what was settled and is not confirmed yet, and leaves the broker. Called after the last delivery was
    /// settled or dropped.
    ///
    /// # Errors
    /// What could not be confirmed by the deadline; nothing is lost by it, it will be delivered again.
    fn close(self, deadline: Instant) -> impl Future<Output = Result<(), Error>> + Send;

    /// Leaves the broker in place of [`close`](Self::close) after a flush failed: what was settled and is not confirmed
    /// yet may belong to what was not sent, and must not be confirmed any more. It is delivered again. Returns at once.
    fn abandon(self)
    where
        Self: Sized,
    {
        drop(self);
    }
}
