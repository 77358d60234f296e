//! What is on its way out, so that a drain can wait for it.

use crate::shutdown::{Missed, Step};
use futures_util::future::{BoxFuture, join_all};
use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};
use throughline_core::{Destination, Endpoint, Error, ErrorKind};
use tokio::{sync::Notify, time::timeout_at};

/// Every publisher of the process: a drain flushes them all, and none can be forgotten. Asked when a publisher is
/// built and at a drain, never for a message.
static PUBLISHERS: Mutex<Vec<Weak<Sends>>> = Mutex::new(Vec::new());

/// The sends of one publisher and its clones.
pub(crate) struct Sends {
    open: AtomicUsize,
    closed: Notify,
    flush: Flush,
    destination: Arc<Destination>,
    /// When a drain's flush last failed, and what it said: it may concern every worker that ran then, and one asked.
    unconfirmed: Mutex<Option<(Instant, String)>>,
}

/// The flush of an endpoint whose type is hidden.
pub(crate) type Flush = Arc<dyn Fn() -> BoxFuture<'static, Result<(), Error>> + Send + Sync>;

/// One send, from its first poll until it is answered or dropped.
pub(crate) struct Open<'a>(&'a Sends);

/// Hides the endpoint's type.
pub(crate) fn of<K: Endpoint>(endpoint: K) -> Flush {
    Arc::new(move || {
        let endpoint = endpoint.clone();
        Box::pin(async move { endpoint.flush().await })
    })
}

/// Counts the sends to this endpoint.
pub(crate) fn register<K: Endpoint>(endpoint: K) -> Arc<Sends> {
    let sends = Arc::new(Sends {
        open: AtomicUsize::new(0),
        closed: Notify::new(),
        destination: endpoint.destination(),
        flush: of(endpoint),
        unconfirmed: Mutex::default(),
    });
    let mut publishers = PUBLISHERS.lock().unwrap_or_else(PoisonError::into_inner);
    publishers.retain(|known| known.strong_count() > 0);
    publishers.push(Arc::downgrade(&sends));
    sends
}

/// Flushes every publisher of the process. Also fails with what another worker's flush met after `since`: nobody knows
/// which of them the message belonged to.
pub(crate) async fn flush_all(since: Instant) -> Result<(), Error> {
    let publishers: Vec<_> = {
        let publishers = PUBLISHERS.lock().unwrap_or_else(PoisonError::into_inner);
        publishers.iter().filter_map(Weak::upgrade).collect()
    };
    join_all(publishers.iter().map(|sends| sends.flush_since(since))).await.into_iter().collect()
}

/// The same as a step of a drain.
pub(crate) async fn flush_all_until(deadline: Instant, since: Instant) -> Result<(), Missed> {
    let open = |_| Err(Missed::new(Step::Publishers, "sends are still open"));
    let flushed = timeout_at(deadline.into(), flush_all(since)).await;
    flushed.map_or_else(open, |flushed| flushed.map_err(|error| Missed::new(Step::Publishers, error)))
}

impl Sends {
    pub(crate) fn open(&self) -> Open<'_> {
        self.open.fetch_add(1, Ordering::AcqRel);
        Open(self)
    }

    pub(crate) async fn flush(&self) -> Result<(), Error> {
        loop {
            let closed = self.closed.notified();
            if self.open.load(Ordering::Acquire) == 0 {
                break;
            }
            closed.await;
        }
        (self.flush)().await
    }

    async fn flush_since(&self, since: Instant) -> Result<(), Error> {
        if let Err(error) = self.flush().await {
            *self.unconfirmed() = Some((Instant::now(), error.to_string()));
            return Err(error);
        }
        match &*self.unconfirmed() {
            Some((at, error)) if *at >= since => {
                let remedy = "a flush failed while this worker ran, and may concern it";
                Err(Error::new(ErrorKind::Broker, &*self.destination.name, remedy).with_source(error.clone()))
            }
            _ => Ok(()),
        }
    }

    fn unconfirmed(&self) -> MutexGuard<'_, Option<(Instant, String)>> {
        self.unconfirmed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if self.0.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.closed.notify_waiters();
        }
    }
}

impl fmt::Debug for Sends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sends").field("open", &self.open.load(Ordering::Relaxed)).finish()
    }
}
