//! Whether a delivered message is still ours.

use crate::waiters::Waiters;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

/// A one-shot flag: still ours, or lost (its time ran out, or its partition went to another member).
///
/// Clones share the flag; an adapter may use one lease for all messages of an assignment. A settlement after the loss
/// is a counted no-op.
#[derive(Clone, Default)]
pub struct Lease(Option<Arc<Flag>>);

/// The adapter's side of a [`Lease`].
#[derive(Clone)]
pub struct LeaseOwner {
    flag: Arc<Flag>,
    demand: Option<crate::Demand>,
}

#[derive(Default)]
struct Flag {
    lost: AtomicBool,
    waiting: Mutex<Waiters>,
}

impl Lease {
    /// A lease that cannot be lost.
    pub const fn forever() -> Self {
        Lease(None)
    }

    /// A lease and the right to end it. With a demand, the worker that is fed through it is woken at the loss, so
    /// that it can cancel the handler.
    pub fn new(demand: Option<crate::Demand>) -> (LeaseOwner, Lease) {
        let flag = Arc::<Flag>::default();
        (LeaseOwner { flag: flag.clone(), demand }, Lease(Some(flag)))
    }

    /// Whether the message is no longer ours.
    pub fn is_lost(&self) -> bool {
        self.0.as_ref().is_some_and(|flag| flag.lost.load(Ordering::Acquire))
    }

    /// Waits for the loss; pending for ever if there is none.
    ///
    /// # Cancel safety
    /// Dropping it forgets the wait and nothing else.
    pub fn lost(&self) -> Lost {
        Lost { lease: self.clone(), slot: None }
    }
}

impl LeaseOwner {
    /// Marks the lease as lost and wakes everybody who waits for that. Further calls do nothing.
    pub fn lose(&self) {
        if self.flag.lost.swap(true, Ordering::AcqRel) {
            return;
        }
        let waiting = self.flag.waiting().take();
        waiting.for_each(Waker::wake);
        if let Some(demand) = &self.demand {
            demand.lease_lost();
        }
    }
}

impl Flag {
    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiters> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The future of [`Lease::lost`].
pub struct Lost {
    lease: Lease,
    slot: Option<u64>,
}

impl Future for Lost {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let Some(flag) = &this.lease.0 else { return Poll::Pending };
        let mut waiting = flag.waiting();
        // Looked at under the lock: the owner sets the flag before it takes the wakers.
        if flag.lost.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        waiting.add(&mut this.slot, cx);
        Poll::Pending
    }
}

impl Drop for Lost {
    fn drop(&mut self) {
        if let (Some(flag), Some(slot)) = (&self.lease.0, self.slot) {
            flag.waiting().forget(slot);
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("lost", &self.is_lost()).finish()
    }
}

impl fmt::Debug for LeaseOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LeaseOwner")
    }
}

impl fmt::Debug for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lost")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::FutureExt;

    #[test]
    fn every_waiter_learns_of_the_loss_and_a_dropped_one_leaves_nothing() {
        let (owner, lease) = Lease::new(None);
        let (mut a, mut b) = (lease.lost(), lease.clone().lost());
        assert!((&mut a).now_or_never().is_none() && (&mut b).now_or_never().is_none());
        drop(b);
        assert_eq!(lease.0.as_ref().map(|f| f.waiting().len()), Some(1));
        owner.lose();
        assert!(a.now_or_never().is_some() && lease.is_lost());
        assert!(lease.lost().now_or_never().is_some());
    }
}
