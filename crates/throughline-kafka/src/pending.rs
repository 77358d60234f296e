//! A message under way, and the account of what became of those before it.

use crate::flow::Place;
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};
use throughline_core::{Error, Receipt};
use tokio::sync::{Notify, oneshot};

/// What is known of the sends of one sink and its clones.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    in_flight: AtomicUsize,
    /// Failed sends that nobody awaited.
    unseen: AtomicUsize,
    /// Any failed, awaited or not.
    failed: AtomicBool,
    idle: Notify,
}

/// One message under way: it is answered once, whatever happens.
pub(crate) struct Pending {
    answer: oneshot::Sender<Result<Receipt, Error>>,
    ledger: Arc<Ledger>,
    pub(crate) topic: Arc<str>,
    pub(crate) size: usize,
    _place: Place,
}

impl Ledger {
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Waits until nothing is under way, and says how many failed with nobody looking since the last time.
    pub(crate) async fn settle(&self) -> usize {
        loop {
            let idle = self.idle.notified();
            if self.in_flight.load(Ordering::Acquire) == 0 {
                return self.unseen.swap(0, Ordering::AcqRel);
            }
            idle.await;
        }
    }
}

impl Pending {
    pub(crate) fn new(
        topic: &Arc<str>,
        size: usize,
        mut place: Place,
        ledger: &Arc<Ledger>,
    ) -> (Box<Self>, oneshot::Receiver<Result<Receipt, Error>>) {
        let (answer, receiver) = oneshot::channel();
        ledger.in_flight.fetch_add(1, Ordering::AcqRel);
        place.fill(size);
        let (topic, ledger) = (topic.clone(), ledger.clone());
        (Box::new(Pending { answer, ledger, topic, size, _place: place }), receiver)
    }

    /// Says whether somebody heard it, or needs not to.
    pub(crate) fn answer(self, result: Result<Receipt, Error>) -> bool {
        let failed = result.is_err();
        if failed {
            self.ledger.failed.store(true, Ordering::Release);
        }
        let unheard = self.answer.send(result).is_err() && failed;
        if unheard {
            self.ledger.unseen.fetch_add(1, Ordering::AcqRel);
        }
        if self.ledger.in_flight.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.ledger.idle.notify_waiters();
        }
        !unheard
    }
}
