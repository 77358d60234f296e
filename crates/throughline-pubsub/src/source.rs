//! Receives from one subscription.

use crate::{
    PubSubSettler, PubSubSubscription,
    answers::Answers,
    ask::Asking,
    desk::{self, Desk, Limits},
    link::Link,
    names::Kind,
    pulse::Telltale,
    streams::Streams,
    tuner,
};
use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};
use throughline_core::{Delivery, Demand, Error, ErrorKind, Event, Observer, Source};
use tokio::{
    runtime::Handle,
    time::{Instant as Moment, timeout_at},
};

/// How long a source that is dropped without being closed goes on to give back and to acknowledge. Nobody waits for it.
const DROP_DEADLINE: Duration = Duration::from_secs(5);
/// How long what was nacked is waited for in its key: it comes within moments, unless the service was told to wait.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connected source of one subscription.
///
/// Its streams are tasks of their own, on the runtime that it was connected on and outside any span.
pub struct PubSubSource {
    streams: Arc<Streams>,
    handle: Handle,
}

impl PubSubSource {
    pub(crate) async fn connect(
        subscription: PubSubSubscription,
        demand: Demand,
        observer: Observer,
    ) -> Result<Self, Error> {
        let PubSubSubscription { pubsub, name, mut settings } = subscription;
        let name = pubsub.full_name(Kind::Subscription, &name)?;
        let connector = pubsub.connector()?;
        let credentials = Telltale(connector.credentials.clone()).into();
        let connector = connector.with_credentials(credentials);
        let mut asking = Asking::new(connector.clone(), name.clone());
        let known = asking.know().await?;
        let topic = settings.topic.clone().or(known.topic).unwrap_or_else(|| name.clone());
        if known.ordered {
            settings.streams = 1;
        }
        let running = demand.free();
        let buffer = settings.buffer.unwrap_or(running);
        let limits = Limits {
            held: running.saturating_add(buffer).max(1),
            delayed: buffer.max(1),
            bytes: settings.buffer_bytes,
            lease: settings.longest_lease,
            deliveries: known.deliveries,
            ordered: known.ordered,
            patience: PATIENCE + known.longest_wait,
        };
        let handle = Handle::current();
        let destination = pubsub.destination(&topic, Some(&name));
        let answers = Arc::new(Answers::new(destination, observer.clone(), handle.clone()));
        let desk = Arc::new(Desk::new(demand, answers.clone(), limits));
        handle.spawn(desk::keep(desk.clone()));
        let most = settings.streams;
        let streams = Arc::new(Streams::new(desk, connector, name, settings, limits.held));
        answers.tasks.spawn_on(streams.clone().run(Link::new(asking, observer)), &handle);
        if most > 1 {
            answers.tasks.spawn_on(tuner::run(streams.clone(), most), &handle);
        }
        Ok(PubSubSource { streams, handle })
    }
}

impl Source for PubSubSource {
    type Settler = PubSubSettler;

    /// # Cancel safety
    /// Safe: what was ready is kept for the next call.
    async fn receive(&mut self) -> Result<Vec<Delivery<PubSubSettler>>, Error> {
        let desk = &self.streams.desk;
        loop {
            let changed = desk.demand.changed();
            let arrived = desk.arrived();
            if desk.demand.stopping() {
                self.streams.stop.cancel();
                desk.stop();
                return Ok(Vec::new());
            }
            let ready = desk.take(desk.demand.free());
            if !ready.is_empty() {
                let Answers { destination, observer, .. } = &*desk.answers;
                observer.observe(Event::Received { destination, count: ready.len() });
                return Ok(ready);
            }
            tokio::select! {
                () = changed => {}
                () = arrived => {}
            }
        }
    }

    /// Gives back what is left, and waits until the client has sent all answers.
    ///
    /// # Errors
    /// `Timeout` naming the subscription if it did not by the deadline: those messages may come again.
    async fn close(self, deadline: Instant) -> Result<(), Error> {
        close(&self.streams, deadline).await
    }
}

async fn close(streams: &Streams, deadline: Instant) -> Result<(), Error> {
    streams.stop.cancel();
    streams.desk.close();
    let tasks = &streams.desk.answers.tasks;
    tasks.close();
    timeout_at(Moment::from_std(deadline), tasks.wait()).await.map_err(|_| {
        let remedy = "the last answers were not sent in time; those messages may come again";
        Error::new(ErrorKind::Timeout, &*streams.name, remedy)
    })
}

impl Drop for PubSubSource {
    fn drop(&mut self) {
        let streams = self.streams.clone();
        if !streams.desk.answers.tasks.is_closed() {
            self.handle.spawn(async move {
                let _ = close(&streams, Instant::now() + DROP_DEADLINE).await;
            });
        }
    }
}

impl fmt::Debug for PubSubSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PubSubSource").field("subscription", &self.streams.name).finish_non_exhaustive()
    }
}
