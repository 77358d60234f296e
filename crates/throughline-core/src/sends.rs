//! The account of what a sink has under way.

use crate::{Destination, Error, ErrorKind, SendFuture, Unconfirmed, waiters::Waiters};
use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
};

/// What an adapter knows of the sends of one sink and its clones: each is begun here, is answered once, whatever happens,
/// and [`flush`](Self::flush) waits for all.
///
/// ```
/// use std::sync::Arc;
/// use throughline_core::{Destination, Receipt, Sends};
/// # use futures_util::future::FutureExt;
///
/// let (sends, destination) = (Sends::default(), Arc::new(Destination::new("memory", "orders")));
/// let (unconfirmed, future) = sends.begin(&destination);
/// unconfirmed.answer(Ok(Receipt::with_id("1"))); // what the broker's client said
/// # let id = future.now_or_never().unwrap().unwrap().id;
/// # assert_eq!(id.as_deref(), Some("1"));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Sends(Arc<Account>);

#[derive(Debug, Default)]
pub(crate) struct Account {
    under_way: AtomicUsize,
    /// Failures that nobody awaited.
    unheard: AtomicUsize,
    failed: AtomicBool,
    flushing: Mutex<Waiters>,
}

impl Sends {
    /// Begins a send: what its answer is given to, and what the caller of the sink gets.
    pub fn begin(&self, destination: &Arc<Destination>) -> (Unconfirmed, SendFuture) {
        self.0.under_way.fetch_add(1, SeqCst);
        Unconfirmed::new(self.0.clone(), destination.clone())
    }

    /// Whether any send failed so far, awaited or not.
    pub fn any_failed(&self) -> bool {
        self.0.failed.load(SeqCst)
    }

    /// Waits until nothing is under way.
    ///
    /// # Cancel safety
    /// Dropping it forgets the wait and nothing else.
    pub async fn all_answered(&self) {
        Idle { account: &self.0, slot: None }.await;
    }

    /// Waits until nothing is under way, and tells what nobody heard.
    ///
    /// # Errors
    /// `Broker` with how many sends failed, since the last time, whose future was dropped. A failure that was awaited is
    /// not told again.
    ///
    /// # Cancel safety
    /// Dropping it forgets the wait and nothing else.
    pub async fn flush(&self, destination: &Destination) -> Result<(), Error> {
        self.all_answered().await;
        match self.0.unheard.swap(0, SeqCst) {
            0 => Ok(()),
            failed => {
                let remedy = format!("{failed} messages were not confirmed; await each send to learn why");
                Err(Error::new(ErrorKind::Broker, &*destination.name, remedy))
            }
        }
    }
}

impl Account {
    pub(crate) fn failed(&self) {
        self.failed.store(true, SeqCst);
    }

    pub(crate) fn unheard(&self) {
        self.unheard.fetch_add(1, SeqCst);
    }

    pub(crate) fn answered(&self) {
        if self.under_way.fetch_sub(1, SeqCst) == 1 {
            let flushing = self.flushing().take();
            flushing.for_each(std::task::Waker::wake);
        }
    }

    fn flushing(&self) -> MutexGuard<'_, Waiters> {
        self.flushing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Until nothing is under way.
struct Idle<'a> {
    account: &'a Account,
    slot: Option<u64>,
}

impl Future for Idle<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        // Among those who wait before it looks: the last answer counts down before it wakes them.
        this.account.flushing().add(&mut this.slot, cx);
        match this.account.under_way.load(SeqCst) {
            0 => Poll::Ready(()),
            _ => Poll::Pending,
        }
    }
}

impl Drop for Idle<'_> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            self.account.flushing().forget(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Receipt;
    use futures_util::future::FutureExt;

    fn destination() -> Arc<Destination> {
        Arc::new(Destination::new("memory", "orders"))
    }

    #[test]
    fn a_flush_waits_for_all_and_tells_of_failures_that_nobody_heard() {
        let (sends, to) = (Sends::default(), destination());
        let failure = || Err(Error::new(ErrorKind::Denied, "orders", "no"));
        let (heard, mut future) = sends.begin(&to);
        let (dropped_before, _) = sends.begin(&to);
        let (dropped_after, unawaited) = sends.begin(&to);
        let (fine, _) = sends.begin(&to);
        let mut flush = Box::pin(sends.flush(&to));
        assert!((&mut flush).now_or_never().is_none() && (&mut future).now_or_never().is_none());
        assert!(heard.answer(failure()), "its caller waits");
        assert!(!dropped_before.answer(failure()), "nobody is there");
        assert!(dropped_after.answer(failure()), "its caller might still look");
        drop(unawaited);
        assert!((&mut flush).now_or_never().is_none());
        assert!(fine.answer(Ok(Receipt::default())), "nobody has to hear that");
        assert_eq!(future.now_or_never().unwrap().unwrap_err().kind(), ErrorKind::Denied);
        let told = flush.now_or_never().unwrap().unwrap_err();
        assert!(told.to_string().contains("2 messages were not confirmed"), "{told}");
        assert!(sends.any_failed() && sends.flush(&to).now_or_never().unwrap().is_ok(), "told once");
    }

    #[test]
    fn every_flush_is_woken_and_a_dropped_one_leaves_nothing() {
        let (sends, to) = (Sends::default(), destination());
        let (unconfirmed, _future) = sends.begin(&to);
        let (mut a, mut b) = (Box::pin(sends.flush(&to)), Box::pin(sends.flush(&to)));
        assert!((&mut a).now_or_never().is_none() && (&mut b).now_or_never().is_none());
        drop(b);
        assert_eq!(sends.0.flushing().len(), 1);
        unconfirmed.answer(Ok(Receipt::default()));
        assert_eq!(sends.0.flushing().len(), 0);
        assert!(a.now_or_never().is_some());
    }
}
