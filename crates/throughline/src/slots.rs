//! Running handlers in reused slots: like `FuturesUnordered`, without an allocation for each future.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

/// Futures that are polled when woken, each with a tag that comes back with its answer.
pub(crate) struct Slots<F, T> {
    slots: Vec<Slot<F, T>>,
    free: Vec<usize>,
    woken: Arc<Woken>,
    /// What `poll_next` took over from `woken` and has not polled yet.
    due: Vec<usize>,
    live: usize,
}

struct Slot<F, T> {
    /// Pinned where it is, and overwritten in place: the box is made once for each slot.
    future: Pin<Box<Option<F>>>,
    tag: Option<T>,
    flag: Arc<SlotWaker>,
    waker: Waker,
}

#[derive(Default)]
struct Woken(Mutex<(Vec<usize>, Option<Waker>)>);

struct SlotWaker {
    index: usize,
    queued: AtomicBool,
    woken: Arc<Woken>,
}

impl<F: Future, T> Slots<F, T> {
    pub(crate) fn new() -> Self {
        Slots { slots: Vec::new(), free: Vec::new(), woken: Arc::default(), due: Vec::new(), live: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.live
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Puts a future into a slot and polls it once; with an immediate answer the slot is never taken, else the tag is
    /// shown to `stays`.
    #[inline]
    pub(crate) fn start(
        &mut self,
        future: F,
        mut tag: T,
        stays: impl FnOnce(&mut T),
    ) -> Poll<(T, F::Output)> {
        let index = match self.free.last() {
            Some(index) => *index,
            None => self.grow(),
        };
        let slot = &mut self.slots[index];
        slot.future.set(Some(future));
        match slot.poll() {
            Poll::Ready(output) => Poll::Ready((tag, output)),
            Poll::Pending => {
                stays(&mut tag);
                slot.tag = Some(tag);
                self.free.pop();
                self.live += 1;
                Poll::Pending
            }
        }
    }

    /// Polls what was woken. `Ready(None)`: nothing runs.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<(T, F::Output)>> {
        if self.live == 0 {
            return Poll::Ready(None);
        }
        loop {
            while let Some(index) = self.due.pop() {
                self.slots[index].flag.queued.store(false, Ordering::Release);
                if let Poll::Ready(output) = self.slots[index].poll()
                    && let Some(tag) = self.vacate(index)
                {
                    return Poll::Ready(Some((tag, output)));
                }
            }
            let mut woken = self.woken.lock();
            if woken.0.is_empty() {
                if !woken.1.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                    woken.1 = Some(cx.waker().clone());
                }
                return Poll::Pending;
            }
            std::mem::swap(&mut woken.0, &mut self.due);
        }
    }

    /// Drops every future whose tag `cancel` says yes to, and hands the tag to `gone`.
    pub(crate) fn cancel(&mut self, cancel: impl Fn(&T) -> bool, mut gone: impl FnMut(T)) {
        for index in 0..self.slots.len() {
            if self.slots[index].tag.as_ref().is_some_and(&cancel) {
                self.slots[index].future.set(None);
                if let Some(tag) = self.vacate(index) {
                    gone(tag);
                }
            }
        }
    }

    fn grow(&mut self) -> usize {
        let index = self.slots.len();
        let flag = Arc::new(SlotWaker { index, queued: AtomicBool::new(false), woken: self.woken.clone() });
        let waker = flag.clone().into();
        self.slots.push(Slot { future: Box::pin(None), tag: None, flag, waker });
        self.free.push(index);
        index
    }

    fn vacate(&mut self, index: usize) -> Option<T> {
        let tag = self.slots[index].tag.take();
        self.free.push(index);
        self.live -= 1;
        tag
    }
}

impl<F: Future, T> Slot<F, T> {
    /// The answer of what is in it, which is gone then.
    #[inline]
    fn poll(&mut self) -> Poll<F::Output> {
        let Some(future) = self.future.as_mut().as_pin_mut() else { return Poll::Pending };
        let polled = future.poll(&mut Context::from_waker(&self.waker));
        if polled.is_ready() {
            self.future.set(None);
        }
        polled
    }
}

impl Woken {
    fn lock(&self) -> std::sync::MutexGuard<'_, (Vec<usize>, Option<Waker>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for SlotWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            let parent = {
                let mut woken = self.woken.lock();
                woken.0.push(self.index);
                woken.1.take()
            };
            if let Some(parent) = parent {
                parent.wake();
            }
        }
    }
}

impl<F, T> std::fmt::Debug for Slots<F, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slots").field("live", &self.live).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{FutureExt, future::poll_fn};
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn only_what_was_woken_is_polled_and_its_tag_comes_back() {
        let mut slots = Slots::new();
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..3).map(|_| oneshot::channel::<u32>()).unzip();
        for (n, receiver) in receivers.into_iter().enumerate() {
            assert!(slots.start(receiver, n, |_| {}).is_pending());
        }
        let mut senders: Vec<_> = senders.into_iter().map(Some).collect();
        assert!(poll_fn(|cx| slots.poll_next(cx)).now_or_never().is_none());
        senders[1].take().unwrap().send(7).unwrap();
        assert_eq!(poll_fn(|cx| slots.poll_next(cx)).await, Some((1, Ok(7))));
        let mut gone = Vec::new();
        slots.cancel(|&n| n == 0, |n| gone.push(n));
        assert_eq!((gone, slots.len()), (vec![0], 1));
        assert!(senders[0].take().unwrap().is_closed(), "the future was dropped");
        senders[2].take().unwrap().send(9).unwrap();
        assert_eq!(poll_fn(|cx| slots.poll_next(cx)).await, Some((2, Ok(9))));
        assert_eq!(poll_fn(|cx| slots.poll_next(cx)).await, None);
    }

    #[test]
    fn a_slot_is_used_again() {
        let mut slots = Slots::new();
        for n in 0..100 {
            assert_eq!(
                slots.start(std::future::ready(n), (), |()| panic!("it is answered")),
                Poll::Ready(((), n))
            );
        }
        assert_eq!(slots.slots.len(), 1);
    }
}
