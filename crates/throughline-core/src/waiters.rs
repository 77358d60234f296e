//! Tasks that wait for one thing, each with a slot of its own.

use std::task::{Context, Waker};

/// Whom to wake.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    wakers: Vec<(u64, Waker)>,
    next: u64,
}

impl Waiters {
    /// Wakes this task too; `slot` is what its future has from call to call, `None` at first.
    pub(crate) fn add(&mut self, slot: &mut Option<u64>, cx: &Context<'_>) {
        match slot.and_then(|slot| self.wakers.iter_mut().find(|(n, _)| *n == slot)) {
            Some((_, waker)) => waker.clone_from(cx.waker()),
            None => {
                self.wakers.push((self.next, cx.waker().clone()));
                *slot = Some(self.next);
                self.next += 1;
            }
        }
    }

    /// The future with this slot waits no longer.
    pub(crate) fn forget(&mut self, slot: u64) {
        self.wakers.retain(|(n, _)| *n != slot);
    }

    /// Everybody, to be woken outside of the lock.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = Waker> + use<> {
        std::mem::take(&mut self.wakers).into_iter().map(|(_, waker)| waker)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.wakers.len()
    }
}
