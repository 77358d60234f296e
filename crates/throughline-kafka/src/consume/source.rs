//! A member of a consumer group, as a source of deliveries.

use crate::{
    KafkaSettler,
    consume::{exchange::Exchange, poll, subscription::Plan},
};
use std::{
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};
use throughline_core::{Delivery, Demand, Error, ErrorKind, Observer, Source};
use tokio::sync::oneshot;

/// How long a source that is dropped without being closed may go on to commit what is done. Nobody waits for it.
const DROP_DEADLINE: Duration = Duration::from_secs(5);

/// A connected member of a consumer group.
///
/// A thread of its own polls the client, so that heartbeats, rebalances and commits go on whatever the worker does. It
/// reads ahead by one record only.
pub struct KafkaSource {
    exchange: Arc<Exchange>,
    demand: Demand,
    group: String,
    closed: bool,
}

impl KafkaSource {
    pub(crate) async fn connect(plan: Plan, demand: Demand, observer: Observer) -> Result<Self, Error> {
        let (started, answer) = oneshot::channel();
        let exchange = Arc::<Exchange>::default();
        // From here on a dropped future closes the source, so that the thread ends too.
        let group = plan.group.clone();
        let source = KafkaSource { exchange: exchange.clone(), demand: demand.clone(), group, closed: false };
        std::thread::Builder::new()
            .name("throughline-kafka".into())
            .spawn(move || poll::run(plan, demand, observer, &exchange, started))
            .map_err(|error| {
                Error::new(ErrorKind::Config, "thread", "the poll thread could not be started")
                    .with_source(error)
            })?;
        match answer.await {
            Ok(result) => result.map(|()| source),
            Err(_) => {
                Err(Error::new(ErrorKind::Closed, &source.group, "the poll thread ended while it connected"))
            }
        }
    }
}

impl Source for KafkaSource {
    type Settler = KafkaSettler;

    /// # Cancel safety
    /// Safe: a batch that was ready is kept for the next call.
    async fn receive(&mut self) -> Result<Vec<Delivery<KafkaSettler>>, Error> {
        loop {
            let mut changed = pin!(self.demand.changed());
            let batch = poll_fn(|cx| {
                if let Poll::Ready(batch) = self.exchange.poll_receive(&self.demand, cx) {
                    return Poll::Ready(Some(batch));
                }
                // Looked at again at each change, because only that tells of the end.
                changed.as_mut().poll(cx).map(|()| None)
            });
            if let Some(batch) = batch.await {
                return batch;
            }
        }
    }

    /// Commits what is done and leaves the group.
    ///
    /// # Errors
    /// `Timeout` naming the group if the broker did not confirm the last commit by the deadline. The messages concerned
    /// come again. The client itself may need longer to go away; that happens on its own thread.
    async fn close(mut self, deadline: Instant) -> Result<(), Error> {
        let (closed, answer) = oneshot::channel();
        self.closed = true;
        self.exchange.close(deadline, Some(closed));
        let gone = || {
            Err(Error::new(ErrorKind::Closed, &self.group, "the poll thread had ended; not all is committed"))
        };
        answer.await.unwrap_or_else(|_| gone())
    }

    fn abandon(mut self) {
        self.closed = true;
        self.exchange.abandon(Instant::now() + DROP_DEADLINE);
    }
}

impl Drop for KafkaSource {
    fn drop(&mut self) {
        if !self.closed {
            self.exchange.close(Instant::now() + DROP_DEADLINE, None);
        }
    }
}

impl fmt::Debug for KafkaSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSource").field("group", &self.group).finish_non_exhaustive()
    }
}
