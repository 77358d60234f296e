//! What a worker needs: a subscription makes sources, and a source hands over deliveries.

use crate::{
    client::{Client, Record},
    settler::Owed,
};
use std::{sync::Arc, time::Instant};
use throughline_core::{
    Capacity, Delivery, Demand, Destination, Error, ErrorKind, Message, Observer, Origin, Redelivery, Source,
    Subscription,
};

/// A queue by its name, to subscribe to and to send to.
#[derive(Clone)]
pub(crate) struct Queue {
    pub(crate) client: Client,
    pub(crate) destination: Arc<Destination>,
}

impl Queue {
    pub(crate) fn new(client: &Client, name: &str) -> Self {
        Queue { client: client.clone(), destination: Arc::new(Destination::new("custom", name)) }
    }

    fn take(&self, at_most: usize) -> Result<Vec<Record>, Error> {
        self.client.take(&self.destination.name, at_most).ok_or_else(|| self.missing())
    }

    pub(crate) fn missing(&self) -> Error {
        Error::new(ErrorKind::NotFound, &*self.destination.name, "make it with `Client::create`")
    }

    fn delivery(&self, record: Record) -> Delivery<Owed> {
        let mut origin = Origin::new(self.destination.clone());
        origin.id = Some(record.number.to_string().into());
        origin.delivery_count = record.deliveries;
        let Record { body, key, headers, .. } = record.clone();
        let owed = Owed::new(self.clone(), record);
        Delivery::new(Message::received(body, key, headers, origin), owed)
    }
}

impl Subscription for Queue {
    type Source = Connected;

    /// What can be known at start is said at start.
    async fn subscribe(&self, demand: Demand, _: Observer) -> Result<Connected, Error> {
        self.take(0)?;
        Ok(Connected { queue: self.clone(), demand })
    }

    /// The worker keeps what failed and tries it again. `Broker` for one that can give a message back for later.
    fn redelivery(&self) -> Redelivery {
        Redelivery::Worker
    }

    /// What may wait beside what runs: it is held back from others.
    fn capacity(&self, in_flight: usize) -> Capacity {
        Capacity { messages: 2 * in_flight, bytes: 16 << 20 }
    }
}

pub(crate) struct Connected {
    queue: Queue,
    demand: Demand,
}

impl Source for Connected {
    type Settler = Owed;

    /// Never dropped half-way, so it may take its time; pause, stop and more room are said by the demand.
    async fn receive(&mut self) -> Result<Vec<Delivery<Owed>>, Error> {
        loop {
            // Both before the look, so that nothing falls in between.
            let (changed, arrived) = (self.demand.changed(), self.queue.client.arrived());
            let records = self.queue.take(self.demand.free())?;
            if !records.is_empty() || self.demand.stopping() {
                return Ok(records.into_iter().map(|record| self.queue.delivery(record)).collect());
            }
            tokio::select! {
                () = changed => {}
                () = arrived => {}
            }
        }
    }

    /// Nothing is under way here: each answer was given at once.
    async fn close(self, _: Instant) -> Result<(), Error> {
        Ok(())
    }
}
