//! The loop: lanes, permits, the stack, and what runs. A plain future without actix, driven by a test as by a worker.

use crate::{
    budget::Budget,
    control::Control,
    queue::{Books, Item, Pressure, Queue, Running},
    slots::Slots,
    worker::OnLeaseLost,
};
use futures_util::future::poll_fn;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll},
};
use throughline_core::{BoxError, Delivery, DemandControl, PartitionIndex, Share};
use tokio::{
    sync::mpsc::UnboundedReceiver,
    time::{Instant, Sleep, sleep_until},
};
use tower_service::Service;

/// How a loop behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) in_flight: usize,
    pub(crate) on_lease_lost: OnLeaseLost,
}

/// What a loop is given to work with.
pub(crate) struct Supplies<Z> {
    pub(crate) inbox: UnboundedReceiver<Vec<Item<Z>>>,
    pub(crate) demand: DemandControl,
    pub(crate) control: Arc<Control>,
    pub(crate) settings: Settings,
}

/// One worker's loop, from its start to its end: `Q` decides whether its stack is called with messages or batches.
pub(crate) struct WorkLoop<S, F, Q: Queue<Z>, Z> {
    stack: S,
    /// The stack said that it is ready and was not called since.
    stack_ready: bool,
    inbox: UnboundedReceiver<Vec<Item<Z>>>,
    inbox_open: bool,
    queue: Q,
    running: Slots<F, Q::Tag>,
    permits: Share,
    timer: Pin<Box<Sleep>>,
    assigned: Vec<PartitionIndex>,
    seen: u64,
    /// The highest offset that was started, by partition: what waits below it is finished at a drain.
    started: Vec<i64>,
    books: Books,
    demand: DemandControl,
    control: Arc<Control>,
    on_lease_lost: OnLeaseLost,
    /// A drain was seen.
    draining: bool,
}

impl<S, F, Q, Z> WorkLoop<S, F, Q, Z>
where
    Q: Queue<Z>,
    S: Service<Q::Request, Response = Q::Answer, Error = BoxError, Future = F>,
    F: Future<Output = Result<Q::Answer, BoxError>>,
{
    pub(crate) fn new(stack: S, queue: Q, supplies: Supplies<Z>) -> Self {
        let Supplies { inbox, demand, control, settings } = supplies;
        WorkLoop {
            stack,
            stack_ready: false,
            inbox,
            inbox_open: true,
            queue,
            running: Slots::new(),
            permits: Share::new(settings.in_flight),
            timer: Box::pin(sleep_until(Instant::now())),
            assigned: Vec::new(),
            seen: 0,
            started: Vec::new(),
            books: Books::new(control.clone()),
            demand,
            control,
            on_lease_lost: settings.on_lease_lost,
            draining: false,
        }
    }

    /// Runs until it was drained or cancelled, or until its source ended and everything that came is settled.
    ///
    /// Must not be polled under tokio's cooperative budget, which makes thousands of futures in one task quadratic:
    /// it has a budget of its own.
    ///
    /// # Cancel safety
    /// Dropping it cancels what runs and gives back everything that is not settled.
    ///
    /// # Errors
    /// The stack's own, from `poll_ready`.
    pub(crate) async fn run(mut self) -> Result<(), BoxError> {
        poll_fn(|cx| self.turn(cx)).await
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        let control = self.control.clone();
        let _busy = control.enter(cx.waker());
        if control.is_cancelled() {
            self.cancel_all();
            return Poll::Ready(Ok(()));
        }
        self.follow_source(cx);
        let draining = control.is_draining();
        if draining {
            self.close_forming(cx)?;
            self.give_back(|_| true);
        }
        let worked = self.work(cx, draining);
        if draining {
            // What failed meanwhile holds its lane, so that nothing overtakes it, and is given back with it.
            self.give_back(|_| true);
        }
        self.report();
        worked?;
        let nothing_left = self.running.is_empty() && self.queue.waiting() == 0;
        if nothing_left && (draining || !self.inbox_open) { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// Finishes, takes in and starts until nothing more can be done or the budget is used up.
    fn work(&mut self, cx: &mut Context<'_>, draining: bool) -> Result<(), BoxError> {
        let mut budget = Budget::new();
        loop {
            while budget.left()
                && let Poll::Ready(Some((tag, result))) = self.running.poll_next(cx)
            {
                budget.spend(tag.messages());
                self.finish(tag, result);
            }
            let (before, flows) = (budget.messages(), draining || !self.control.is_paused());
            self.wake_parked();
            self.take_in(cx, &mut budget, draining, flows)?;
            let due = self.look(draining);
            self.set_timer(cx, due);
            if flows {
                self.start(cx, &mut budget)?;
            }
            if !budget.left() {
                cx.waker().wake_by_ref();
                return Ok(());
            }
            // After a start the running ones are asked once more, so that each has a waker to wake.
            if budget.messages() == before {
                return Ok(());
            }
        }
    }

    #[inline]
    fn look(&mut self, draining: bool) -> Option<Instant> {
        let ending = draining || !self.inbox_open;
        let pressure = Pressure { ending, demand: self.demand.demand(), assigned: &self.assigned };
        self.queue.look(&pressure)
    }

    /// At the beginning of a drain a batch that is forming closes and is handled, if it can be at once.
    fn close_forming(&mut self, cx: &mut Context<'_>) -> Result<(), BoxError> {
        let begins = !std::mem::replace(&mut self.draining, true);
        if Q::FORMS && begins && !self.control.is_paused() {
            self.look(true);
            self.start(cx, &mut Budget::new())?;
        }
        Ok(())
    }

    /// Learns of lost leases and of a changed assignment.
    fn follow_source(&mut self, cx: &Context<'_>) {
        let (lease_lost, assigned) = self.demand.poll_source(cx.waker(), &mut self.seen);
        if let Some(assigned) = assigned {
            let gone: Vec<_> = self.assigned.iter().copied().filter(|p| !assigned.contains(p)).collect();
            for &partition in &gone {
                self.permits.unassign(partition);
            }
            for &new in assigned.iter().filter(|p| !self.assigned.contains(p)) {
                self.permits.assign(new);
                if let Some(started) = self.started.get_mut(new.0 as usize) {
                    *started = -1;
                }
            }
            let (permits, partitions) = (self.permits.limit(), assigned.len());
            if permits < partitions && assigned.len() > self.assigned.len() {
                tracing::warn!(
                    permits,
                    partitions,
                    "fewer handlers than partitions may run: some wait for others; raise `in_flight`"
                );
            }
            self.assigned = assigned;
            self.give_back(|partition| gone.contains(&partition));
        }
        if lease_lost {
            self.drop_lost();
        }
    }

    /// Gives back what waits of these partitions, but for what a log would have to deliver twice: a message that waits
    /// in its lane below one of its partition that was started holds the commit, so it is handled too. What is parked,
    /// or waits behind that, is not.
    fn give_back(&mut self, leaving: impl Fn(PartitionIndex) -> bool) {
        if self.queue.waiting() > 0 {
            let (books, started) = (&mut self.books, &self.started);
            self.queue.retain(
                |Item { delivery, .. }, parked| {
                    let offset = delivery.message.origin().and_then(|origin| origin.offset);
                    let highest = started.get(delivery.partition.0 as usize);
                    let below = offset.zip(highest).is_some_and(|(offset, highest)| offset < *highest);
                    !leaving(delivery.partition) || (below && !parked)
                },
                |item| books.release(item.delivery.partition, item.size),
            );
        }
    }

    fn drop_lost(&mut self) {
        let books = &mut self.books;
        self.queue.retain(
            |item, _| !item.delivery.lease.is_lost(),
            |item| books.release(item.delivery.partition, item.size),
        );
        if self.on_lease_lost == OnLeaseLost::Cancel {
            self.cancel(Q::Tag::is_lost);
        }
    }

    fn cancel_all(&mut self) {
        self.cancel(|_| true);
        let books = &mut self.books;
        self.queue.retain(|_, _| false, |item| books.release(item.delivery.partition, item.size));
        self.report();
    }

    fn cancel(&mut self, which: impl Fn(&Q::Tag) -> bool) {
        let (queue, permits, books) = (&mut self.queue, &mut self.permits, &mut self.books);
        let mut cancelled = 0;
        self.running.cancel(which, |tag| {
            cancelled += 1;
            permits.release(tag.partition(), 1);
            queue.cancelled(tag, books);
        });
        self.control.counts.cancelled.fetch_add(cancelled, Relaxed);
    }

    fn wake_parked(&mut self) {
        if self.books.parked.first().is_some() {
            let now = Instant::now();
            while let Some(lane) = self.books.parked.pop(now) {
                self.queue.wake(lane);
            }
        }
    }

    fn set_timer(&mut self, cx: &mut Context<'_>, due: Option<Instant>) {
        if let Some(first) = self.books.parked.first().into_iter().chain(due).min() {
            if self.timer.deadline() != first {
                self.timer.as_mut().reset(first);
            }
            // Due in between: the next turn finds it.
            if self.timer.as_mut().poll(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
        }
    }

    fn take_in(
        &mut self,
        cx: &mut Context<'_>,
        budget: &mut Budget,
        draining: bool,
        flows: bool,
    ) -> Result<(), BoxError> {
        // Without a budget what comes would wait behind what came before, though it need not wait at all.
        while budget.left()
            && self.inbox_open
            && let Poll::Ready(batch) = self.inbox.poll_recv(cx)
        {
            let Some(batch) = batch else {
                self.inbox_open = false;
                return Ok(());
            };
            if draining {
                continue; // dropped, so given back
            }
            for item in batch {
                self.take_in_one(cx, budget, flows, item)?;
            }
        }
        Ok(())
    }

    /// What would start next anyway is started at once, and never becomes a lane if it is done at once too.
    #[inline(always)]
    fn take_in_one(
        &mut self,
        cx: &mut Context<'_>,
        budget: &mut Budget,
        flows: bool,
        item: Item<Z>,
    ) -> Result<(), BoxError> {
        let next = !Q::FORMS && flows && budget.left() && !self.queue.has_ready();
        let item = if next && self.permits.may_take(item.delivery.partition) && self.is_ready(cx)? {
            let started = &mut self.started;
            match self.queue.claim(item, |delivery| note_started(started, delivery)) {
                Ok((tag, request)) => {
                    self.begin(tag, request, budget);
                    return Ok(());
                }
                Err(item) => item,
            }
        } else {
            item
        };
        self.queue.push(item);
        Ok(())
    }

    fn start(&mut self, cx: &mut Context<'_>, budget: &mut Budget) -> Result<(), BoxError> {
        while budget.left() && self.queue.has_ready() && self.permits.used() < self.permits.limit() {
            // Ready first: a message that is taken out of its lane is called at once.
            if !self.is_ready(cx)? {
                break;
            }
            let (permits, started, books) = (&self.permits, &mut self.started, &mut self.books);
            let next = self.queue.next(
                |partition| permits.may_take(partition),
                |delivery| note_started(started, delivery),
                |lost| books.release(lost.delivery.partition, lost.size),
            );
            let Some((tag, request)) = next else { break };
            self.begin(tag, request, budget);
        }
        Ok(())
    }

    /// Whether the stack takes a call. It is asked only where one follows, or soon will.
    #[inline]
    fn is_ready(&mut self, cx: &mut Context<'_>) -> Result<bool, BoxError> {
        if !self.stack_ready {
            self.stack_ready = self.stack.poll_ready(cx)?.is_ready();
        }
        Ok(self.stack_ready)
    }

    #[inline(always)]
    fn begin(&mut self, tag: Q::Tag, request: Q::Request, budget: &mut Budget) {
        self.permits.take(tag.partition(), 1);
        self.stack_ready = false;
        budget.spend(tag.messages());
        let (future, queue) = (self.stack.call(request), &mut self.queue);
        if let Poll::Ready((tag, result)) = self.running.start(future, tag, |tag| queue.hold(tag)) {
            self.finish(tag, result);
        }
    }

    #[inline]
    fn finish(&mut self, tag: Q::Tag, result: Result<Q::Answer, BoxError>) {
        self.permits.release(tag.partition(), 1);
        self.queue.finish(tag, result, &mut self.books);
    }

    fn report(&mut self) {
        if !self.books.released.is_empty() {
            self.demand.release(self.books.released.drain(..));
        }
        self.control.counts.acked.fetch_add(std::mem::take(&mut self.books.acked), Relaxed);
        self.control.in_flight.store(self.running.len(), Relaxed);
        self.control.waiting.store(self.queue.waiting(), Relaxed);
        self.control.parked.store(self.queue.parked(), Relaxed);
        self.control.changed.notify_waiters();
    }
}

#[inline]
fn note_started<Z>(started: &mut Vec<i64>, delivery: &Delivery<Z>) {
    let Some(offset) = delivery.message.origin().and_then(|origin| origin.offset) else { return };
    let at = delivery.partition.0 as usize;
    if at >= started.len() {
        started.resize(at + 1, -1);
    }
    started[at] = started[at].max(offset);
}

impl<S, F, Q: Queue<Z>, Z> fmt::Debug for WorkLoop<S, F, Q, Z> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkLoop")
            .field("waiting", &self.queue.waiting())
            .field("running", &self.running)
            .finish()
    }
}

#[cfg(test)]
mod tests;
