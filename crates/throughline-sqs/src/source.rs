//! Receives from one queue.

use crate::{
    SqsSettler, SqsSubscription, calls::Calls, config, desk::Desk, keeper, owed::BATCH, polls::Polls,
};
use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};
use throughline_core::{Delivery, Demand, Error, ErrorKind, Observer, Source};
use tokio::{
    runtime::Handle,
    time::{Instant as Moment, sleep_until, timeout_at},
};

/// What a queue hides a message for where nobody says.
const VISIBILITY: Duration = Duration::from_secs(30);
/// How long a source that is dropped without being closed goes on to give back and to delete. Nobody waits for it.
const DROP_DEADLINE: Duration = Duration::from_secs(5);
/// How long a small room waits to grow: a call for one message costs as much as one for ten.
const GROW: Duration = Duration::from_millis(50);
/// When nothing is to be started: somebody will say so.
const FAR: Duration = Duration::from_secs(3600);

/// A connected source of one queue.
///
/// Polls are tasks of their own and never dropped: what an open one brings after the end is made visible again at once.
pub struct SqsSource {
    polls: Arc<Polls>,
    demand: Demand,
    handle: Handle,
    /// The room of an idle worker.
    most: usize,
    small_since: Option<Moment>,
}

impl SqsSource {
    pub(crate) async fn connect(
        subscription: SqsSubscription,
        demand: Demand,
        observer: Observer,
    ) -> Result<Self, Error> {
        let SqsSubscription { sqs, queue, settings } = subscription;
        let calls = Arc::new(Calls::open(&sqs, &queue, settings.wait).await?);
        // Also where the user gave one: a queue that is not there has to be known now.
        let own = calls.visibility().await?.filter(|time| *time >= Duration::from_secs(2));
        let visibility = settings.visibility.or(own).unwrap_or(VISIBILITY);
        let destination = config::destination(calls.url());
        let desk = Arc::new(Desk::new(destination, observer, visibility));
        let handle = Handle::current();
        handle.spawn(keeper::run(desk.clone(), calls.clone()));
        let polls = Arc::new(Polls::new(calls, desk, demand.clone(), settings));
        Ok(SqsSource { polls, most: demand.free(), demand, handle, small_since: None })
    }

    /// Starts as many polls as there are to be; gives when to look again at the latest.
    fn start(&mut self) -> Moment {
        let now = Moment::now();
        loop {
            let free = self.demand.free();
            let ask = match self.polls.next(free, now) {
                Ok(0) => {
                    self.small_since = None;
                    return now + FAR;
                }
                Ok(room) => room,
                Err(not_before) => return not_before,
            };
            // Others will bring what there is meanwhile, or most of the worker is busy.
            if ask < BATCH && (self.polls.some_are_open() || free < self.most / 2) {
                let until = *self.small_since.get_or_insert(now) + GROW;
                if now < until {
                    return until;
                }
            }
            self.small_since = None;
            self.handle.spawn(self.polls.clone().poll(ask.min(BATCH)));
        }
    }
}

impl Source for SqsSource {
    type Settler = SqsSettler;

    /// # Cancel safety
    /// Safe: what was ready is kept for the next call.
    async fn receive(&mut self) -> Result<Vec<Delivery<SqsSettler>>, Error> {
        let polls = self.polls.clone();
        loop {
            let changed = self.demand.changed();
            let arrived = polls.arrived();
            if self.demand.stopping() {
                self.polls.stop();
                return Ok(Vec::new());
            }
            let ready = self.polls.take();
            if !ready.is_empty() {
                return Ok(ready);
            }
            let again = self.start();
            tokio::select! {
                () = changed => {}
                () = arrived => {}
                () = sleep_until(again) => {}
            }
        }
    }

    /// Waits for open polls, gives back what they bring, and sends what is owed.
    ///
    /// # Errors
    /// `Timeout` naming the queue if answers were not confirmed by the deadline: those messages come again.
    async fn close(self, deadline: Instant) -> Result<(), Error> {
        close(&self.polls, deadline).await
    }
}

async fn close(polls: &Polls, deadline: Instant) -> Result<(), Error> {
    let deadline = Moment::from_std(deadline);
    polls.stop();
    polls.desk.begin_close();
    // The rest is for what they bring.
    let margin = deadline.saturating_duration_since(Moment::now()) / 5;
    if timeout_at(deadline - margin.min(Duration::from_secs(2)), polls.idle()).await.is_err() {
        tracing::warn!(
            queue = &**polls.calls.name(),
            "a poll was still open at the end: what it takes stays hidden for the visibility time-out"
        );
    }
    let margin = deadline.saturating_duration_since(Moment::now()) / 10;
    let settled = timeout_at(deadline - margin, polls.desk.settled()).await;
    let open = polls.desk.unconfirmed();
    polls.desk.close();
    settled.map_err(|_| {
        let remedy = format!("{open} answers were not confirmed in time; those messages come again");
        Error::new(ErrorKind::Timeout, &**polls.calls.name(), remedy)
    })
}

impl Drop for SqsSource {
    fn drop(&mut self) {
        if !self.polls.desk.is_closed() {
            let polls = self.polls.clone();
            self.handle.spawn(async move {
                let _ = close(&polls, Instant::now() + DROP_DEADLINE).await;
            });
        }
    }
}

impl fmt::Debug for SqsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqsSource").field("queue", self.polls.calls.name()).finish_non_exhaustive()
    }
}
