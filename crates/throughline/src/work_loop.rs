//! The loop: lanes, permits, the stack, and what runs. A plain future without actix, driven by a test as by a worker.

use crate::{
    control::{Control, Counters},
    lanes::{LaneId, Lanes, Ordering},
    middleware::{Failed, Held, Outcome},
    parked::Parked,
    slots::Slots,
    status::Blocked,
};
use futures_util::future::poll_fn;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};
use throughline_core::{
    BoxError, Delivery, DemandControl, Error, ErrorKind, Lease, PartitionIndex, Settlement, Share,
};
use tokio::{
    sync::mpsc::UnboundedReceiver,
    time::{Instant, Sleep, sleep_until},
};
use tower_service::Service;

/// What happens to a running handler whose message is no longer ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnLeaseLost {
    /// It is cancelled: somebody else has the message, or soon will.
    #[default]
    Cancel,
    /// It runs on and may ask its [`Lease`]; its answer has no effect.
    Tell,
}

/// Messages started or finished in one poll before the task yields. A self-wake on a multi-thread runtime costs a
/// futex and perhaps a migration; 512 was measured to be 8 % cheaper than 128.
const BUDGET: usize = 512;

/// For how long one poll goes on: handlers with much to compute must not keep the timers of the others waiting.
const SLICE: Duration = Duration::from_millis(5);

/// After how many messages the clock is looked at.
const LOOK: usize = 32;

/// How a loop behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) in_flight: usize,
    pub(crate) ordering: Ordering,
    pub(crate) on_lease_lost: OnLeaseLost,
}

/// One worker's loop, from its start to its end.
pub(crate) struct WorkLoop<S, F, Z> {
    stack: S,
    /// The stack said that it is ready and was not called since.
    stack_ready: bool,
    inbox: UnboundedReceiver<Vec<Delivery<Z>>>,
    inbox_open: bool,
    lanes: Lanes<Item<Z>>,
    running: Slots<F, Tag>,
    permits: Share,
    parked: Parked,
    timer: Pin<Box<Sleep>>,
    assigned: Vec<PartitionIndex>,
    seen: u64,
    /// The highest offset that was started, by partition: what waits below it is finished at a drain.
    started: Vec<i64>,
    /// What was finished in this turn, to be told to the demand at its end.
    released: Vec<(PartitionIndex, usize, usize)>,
    blocked: Option<LaneId>,
    demand: DemandControl,
    control: Arc<Control>,
    on_lease_lost: OnLeaseLost,
}

struct Item<Z> {
    delivery: Delivery<Z>,
    size: usize,
}

/// What is known of a running handler.
struct Tag {
    lane: LaneId,
    partition: PartitionIndex,
    size: usize,
    lease: Lease,
}

impl<S, F, Z> WorkLoop<S, F, Z>
where
    S: Service<Delivery<Z>, Response = Outcome<Z>, Error = BoxError, Future = F>,
    F: Future<Output = Result<Outcome<Z>, BoxError>>,
{
    pub(crate) fn new(
        stack: S,
        inbox: UnboundedReceiver<Vec<Delivery<Z>>>,
        demand: DemandControl,
        control: Arc<Control>,
        settings: Settings,
    ) -> Self {
        WorkLoop {
            stack,
            stack_ready: false,
            inbox,
            inbox_open: true,
            lanes: Lanes::new(settings.ordering),
            running: Slots::new(),
            permits: Share::new(settings.in_flight),
            parked: Parked::default(),
            timer: Box::pin(sleep_until(Instant::now())),
            assigned: Vec::new(),
            seen: 0,
            started: Vec::new(),
            released: Vec::new(),
            blocked: None,
            demand,
            control,
            on_lease_lost: settings.on_lease_lost,
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
            self.give_back(|_| true);
        }
        let worked = self.work(cx, draining);
        if draining {
            // What failed meanwhile holds its lane, so that nothing overtakes it, and is given back with it.
            self.give_back(|_| true);
        }
        self.report();
        worked?;
        let nothing_left = self.running.is_empty() && self.lanes.waiting() == 0;
        if nothing_left && (draining || !self.inbox_open) { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// Finishes, takes in and starts until nothing more can be done or the budget is used up.
    fn work(&mut self, cx: &mut Context<'_>, draining: bool) -> Result<(), BoxError> {
        let mut budget = Budget::new();
        loop {
            while budget.left()
                && let Poll::Ready(Some((tag, result))) = self.running.poll_next(cx)
            {
                self.finish(tag, result);
                budget.spend();
            }
            self.wake_parked(cx);
            self.take_in(cx, draining);
            let before = budget.messages;
            if draining || !self.control.is_paused() {
                self.start(cx, &mut budget)?;
            }
            if !budget.left() {
                cx.waker().wake_by_ref();
                return Ok(());
            }
            // After a start the running ones are asked once more, so that each has a waker to wake.
            if budget.messages == before {
                return Ok(());
            }
        }
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
        if self.lanes.waiting() > 0 {
            let (released, started) = (&mut self.released, &self.started);
            self.lanes.retain(
                |Item { delivery, .. }, parked| {
                    let offset = delivery.message.origin().and_then(|origin| origin.offset);
                    let highest = started.get(delivery.partition.0 as usize);
                    let below = offset.zip(highest).is_some_and(|(offset, highest)| offset < *highest);
                    !leaving(delivery.partition) || (below && !parked)
                },
                |item| add(released, item.delivery.partition, item.size),
            );
        }
    }

    #[inline]
    fn note_started(&mut self, delivery: &Delivery<Z>) {
        let Some(offset) = delivery.message.origin().and_then(|origin| origin.offset) else { return };
        let at = delivery.partition.0 as usize;
        if at >= self.started.len() {
            self.started.resize(at + 1, -1);
        }
        self.started[at] = self.started[at].max(offset);
    }

    fn drop_lost(&mut self) {
        let released = &mut self.released;
        self.lanes.retain(
            |item, _| !item.delivery.lease.is_lost(),
            |item| add(released, item.delivery.partition, item.size),
        );
        if self.on_lease_lost == OnLeaseLost::Cancel {
            self.cancel(|tag| tag.lease.is_lost());
        }
    }

    fn cancel_all(&mut self) {
        self.cancel(|_| true);
        let released = &mut self.released;
        self.lanes.retain(|_, _| false, |item| add(released, item.delivery.partition, item.size));
        self.report();
    }

    fn cancel(&mut self, which: impl Fn(&Tag) -> bool) {
        let (lanes, permits, released) = (&mut self.lanes, &mut self.permits, &mut self.released);
        let mut cancelled = 0;
        self.running.cancel(which, |tag| {
            cancelled += 1;
            lanes.done(tag.lane);
            permits.release(tag.partition, 1);
            add(released, tag.partition, tag.size);
        });
        self.control.counts.cancelled.fetch_add(cancelled, Relaxed);
    }

    fn wake_parked(&mut self, cx: &mut Context<'_>) {
        let Some(first) = self.parked.first() else { return };
        let now = Instant::now();
        if first <= now {
            while let Some(lane) = self.parked.pop(now) {
                self.lanes.wake(lane);
            }
        }
        if let Some(first) = self.parked.first() {
            if self.timer.deadline() != first {
                self.timer.as_mut().reset(first);
            }
            // Due in between: the next turn finds it.
            if self.timer.as_mut().poll(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
        }
    }

    fn take_in(&mut self, cx: &mut Context<'_>, draining: bool) {
        while self.inbox_open
            && let Poll::Ready(batch) = self.inbox.poll_recv(cx)
        {
            let Some(batch) = batch else {
                self.inbox_open = false;
                return;
            };
            if draining {
                continue; // dropped, so given back
            }
            for delivery in batch {
                let size = delivery.message.size();
                let item = Item { delivery, size };
                self.lanes
                    .push(item.delivery.partition, item, |item| item.delivery.message.key().map(|k| &k[..]));
            }
        }
    }

    fn start(&mut self, cx: &mut Context<'_>, budget: &mut Budget) -> Result<(), BoxError> {
        while budget.left() && self.lanes.has_ready() && self.permits.used() < self.permits.limit() {
            // Ready first: a message that is taken out of its lane is called at once.
            if !self.stack_ready {
                match self.stack.poll_ready(cx)? {
                    Poll::Ready(()) => self.stack_ready = true,
                    Poll::Pending => break,
                }
            }
            let permits = &self.permits;
            let Some((lane, Item { delivery, size })) = self.lanes.next(|p| permits.may_take(p)) else {
                break;
            };
            if delivery.lease.is_lost() {
                add(&mut self.released, delivery.partition, size);
                self.lanes.done(lane);
                continue;
            }
            let tag = Tag { lane, partition: delivery.partition, size, lease: delivery.lease.clone() };
            self.permits.take(tag.partition, 1);
            self.note_started(&delivery);
            self.stack_ready = false;
            budget.spend();
            let future = self.stack.call(delivery);
            if let Poll::Ready((tag, result)) = self.running.start(future, tag) {
                self.finish(tag, result);
            }
        }
        Ok(())
    }

    #[inline]
    fn finish(&mut self, tag: Tag, result: Result<Outcome<Z>, BoxError>) {
        self.permits.release(tag.partition, 1);
        match result {
            Ok(Outcome { how, failed }) => {
                count(&self.control.counts, how, failed.as_deref());
                if let Some(held) = failed.and_then(|failed| failed.held)
                    && !held.delivery.lease.is_lost()
                {
                    return self.park(tag, how, held);
                }
                if self.blocked == Some(tag.lane) {
                    self.blocked = None;
                    self.control.set_blocked(None);
                }
            }
            Err(error) => {
                // The adapter counts and reports what it no longer holds.
                let lease_lost =
                    error.downcast_ref::<Error>().is_some_and(|error| error.kind() == ErrorKind::LeaseLost);
                if !lease_lost {
                    self.control.counts.settle_failed.fetch_add(1, Relaxed);
                    tracing::warn!(%error, "a settlement was not taken; the message comes again");
                }
            }
        }
        self.lanes.done(tag.lane);
        add(&mut self.released, tag.partition, tag.size);
    }

    /// Holds a message, and its lane with it, until it is tried again. It has no permit meanwhile.
    #[cold]
    fn park(&mut self, tag: Tag, how: Settlement, held: Held<Z>) {
        if how == Settlement::Reject && self.blocked.is_none() {
            self.blocked = Some(tag.lane);
            let blocked = held.delivery.message.origin().map(|origin| Blocked {
                destination: origin.destination.name.clone(),
                partition: origin.partition,
                offset: origin.offset,
            });
            if let Some(at) = &blocked {
                tracing::warn!(
                    %at,
                    "a rejected message is held: the worker has no dead letters (give it some, or discard), or they did not take it"
                );
            }
            self.control.set_blocked(blocked);
        }
        self.lanes.park(tag.lane, Item { delivery: held.delivery, size: tag.size });
        self.parked.push(Instant::now() + held.after, tag.lane);
    }

    fn report(&mut self) {
        if !self.released.is_empty() {
            self.demand.release(self.released.drain(..));
        }
        self.control.in_flight.store(self.running.len(), Relaxed);
        self.control.waiting.store(self.lanes.waiting(), Relaxed);
        self.control.parked.store(self.lanes.parked(), Relaxed);
    }
}

/// Adds to the last entry where it is of the same partition: most turns need one.
#[inline]
fn add(released: &mut Vec<(PartitionIndex, usize, usize)>, partition: PartitionIndex, size: usize) {
    match released.last_mut() {
        Some((last, messages, bytes)) if *last == partition => {
            *messages += 1;
            *bytes += size;
        }
        _ => released.push((partition, 1, size)),
    }
}

#[inline]
fn count<Z>(counts: &Counters, how: Settlement, failed: Option<&Failed<Z>>) {
    let one = |count: &AtomicU64| count.fetch_add(1, Relaxed);
    match how {
        Settlement::Ack => one(&counts.acked),
        _ if failed.is_some_and(|failed| failed.put_aside) => one(&counts.put_aside),
        _ => one(&counts.nacked),
    };
    if failed.is_some_and(|failed| failed.failure.error_type == "panic") {
        one(&counts.panicked);
    }
}

/// What one poll may do.
struct Budget {
    messages: usize,
    since: std::time::Instant,
}

impl Budget {
    fn new() -> Self {
        Budget { messages: BUDGET, since: std::time::Instant::now() }
    }

    fn left(&self) -> bool {
        self.messages > 0
    }

    #[inline]
    fn spend(&mut self) {
        self.messages = self.messages.saturating_sub(1);
        if self.messages.is_multiple_of(LOOK) && self.since.elapsed() >= SLICE {
            self.messages = 0;
        }
    }
}

impl<S, F, Z> fmt::Debug for WorkLoop<S, F, Z> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkLoop").field("lanes", &self.lanes).field("running", &self.running).finish()
    }
}
