//! Subscriptions chosen at run time.

use crate::{
    Capacity, Delivery, Demand, Error, Observer, Redelivery, Settlement, Settler, Source, Subscription,
};
use std::{fmt, future::Future, pin::Pin, time::Instant};

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Any subscription.
///
/// Costs two allocations a message (its settler and the future of the answer) beside the plain type.
pub struct BoxSubscription(Box<dyn DynSubscription>);

/// The source of a [`BoxSubscription`].
pub struct BoxSource(Box<dyn DynSource>);

/// The settler of a [`BoxSubscription`].
pub struct BoxSettler(Box<dyn DynSettler>);

impl BoxSubscription {
    /// Hides the type.
    pub fn new<S: Subscription>(subscription: S) -> Self {
        BoxSubscription(Box::new(subscription))
    }
}

impl Subscription for BoxSubscription {
    type Source = BoxSource;

    async fn subscribe(&self, demand: Demand, observer: Observer) -> Result<BoxSource, Error> {
        self.0.subscribe(demand, observer).await
    }

    fn redelivery(&self) -> Redelivery {
        self.0.redelivery()
    }

    fn in_order(&self) -> bool {
        self.0.in_order()
    }

    fn capacity(&self, in_flight: usize) -> Capacity {
        self.0.capacity(in_flight)
    }
}

impl Source for BoxSource {
    type Settler = BoxSettler;

    async fn receive(&mut self) -> Result<Vec<Delivery<BoxSettler>>, Error> {
        self.0.receive().await
    }

    async fn close(self, deadline: Instant) -> Result<(), Error> {
        self.0.close(deadline).await
    }

    fn abandon(self) {
        self.0.abandon();
    }
}

impl Settler for BoxSettler {
    async fn settle(self, how: Settlement) -> Result<(), Error> {
        self.0.settle(how).await
    }
}

trait DynSubscription: Send + Sync {
    fn subscribe(&self, demand: Demand, observer: Observer) -> BoxFuture<'_, Result<BoxSource, Error>>;
    fn redelivery(&self) -> Redelivery;
    fn in_order(&self) -> bool;
    fn capacity(&self, in_flight: usize) -> Capacity;
}

impl<S: Subscription> DynSubscription for S {
    fn subscribe(&self, demand: Demand, observer: Observer) -> BoxFuture<'_, Result<BoxSource, Error>> {
        Box::pin(
            async move { Ok(BoxSource(Box::new(Subscription::subscribe(self, demand, observer).await?))) },
        )
    }

    fn redelivery(&self) -> Redelivery {
        Subscription::redelivery(self)
    }

    fn in_order(&self) -> bool {
        Subscription::in_order(self)
    }

    fn capacity(&self, in_flight: usize) -> Capacity {
        Subscription::capacity(self, in_flight)
    }
}

trait DynSource: Send {
    fn receive(&mut self) -> BoxFuture<'_, Result<Vec<Delivery<BoxSettler>>, Error>>;
    fn close(self: Box<Self>, deadline: Instant) -> BoxFuture<'static, Result<(), Error>>;
    fn abandon(self: Box<Self>);
}

impl<S: Source> DynSource for S {
    fn receive(&mut self) -> BoxFuture<'_, Result<Vec<Delivery<BoxSettler>>, Error>> {
        Box::pin(async move {
            let boxed = |d: Delivery<S::Settler>| Delivery {
                message: d.message,
                settler: BoxSettler(Box::new(d.settler)),
                lease: d.lease,
                partition: d.partition,
            };
            Ok(Source::receive(self).await?.into_iter().map(boxed).collect())
        })
    }

    fn close(self: Box<Self>, deadline: Instant) -> BoxFuture<'static, Result<(), Error>> {
        Box::pin(Source::close(*self, deadline))
    }

    fn abandon(self: Box<Self>) {
        Source::abandon(*self);
    }
}

trait DynSettler: Send {
    fn settle(self: Box<Self>, how: Settlement) -> BoxFuture<'static, Result<(), Error>>;
}

impl<Z: Settler> DynSettler for Z {
    fn settle(self: Box<Self>, how: Settlement) -> BoxFuture<'static, Result<(), Error>> {
        Box::pin(Settler::settle(*self, how))
    }
}

impl fmt::Debug for BoxSubscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BoxSubscription")
    }
}

impl fmt::Debug for BoxSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BoxSource")
    }
}

impl fmt::Debug for BoxSettler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BoxSettler")
    }
}
