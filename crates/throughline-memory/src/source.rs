//! A member of a group that receives.

use crate::{
    config::Start,
    consume::{Commit, Given, Look, Seat},
    fault::{At, Strike, injected_panic},
    group::{Change, Place},
    settler::MemorySettler,
    shared::Shared,
};
use std::{
    fmt,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};
use throughline_core::{
    Changed, Delivery, Demand, Destination, Error, ErrorKind, Event, Observer, Origin, PartitionIndex, Source,
};

/// How many messages one `receive` brings at most.
const BATCH: usize = 64;
/// How often committed offsets and lag are reported while they move.
const REPORT: Duration = Duration::from_millis(100);

/// A connected source of a [`MemorySubscription`](crate::MemorySubscription): a member of its group.
///
/// Dropped without [`close`](Source::close) it leaves the group as well.
pub struct MemorySource {
    shared: Arc<Shared>,
    seat: Seat,
    demand: Demand,
    observer: Observer,
    next_report: Option<Instant>,
    /// Which partitions are blocked, by their index.
    blocked: Vec<bool>,
    /// How many partitions ever had an index.
    indexes: u32,
    left: bool,
}

impl MemorySource {
    pub(crate) fn join(
        shared: Arc<Shared>,
        topics: &[String],
        group: &str,
        start: Start,
        demand: Demand,
        observer: Observer,
    ) -> Result<Self, Error> {
        if topics.is_empty() {
            return Err(Error::new(ErrorKind::Config, group, "subscribe to at least one topic"));
        }
        let strike = |broker: &mut crate::broker::Broker| {
            broker.faults.strike(At::Subscribe, topics.iter().map(String::as_str))
        };
        match shared.with(|broker, _| strike(broker)) {
            Some(Strike::Error(error)) => return Err(error),
            Some(Strike::Panic) => injected_panic(),
            Some(Strike::Hold) | None => {}
        }
        let seat = shared.with(|broker, fx| broker.join(topics, group, start, demand.clone(), fx))?;
        Ok(MemorySource {
            shared,
            seat,
            demand,
            observer,
            next_report: None,
            blocked: Vec::new(),
            indexes: 0,
            left: false,
        })
    }

    /// Asks the broker once: what there is now goes to `batch`.
    fn look(&mut self, now: Instant, batch: &mut Vec<Delivery<MemorySettler>>) -> Result<Look, Error> {
        // Looked at before the broker is locked: a demand has a lock of its own.
        let free = self.demand.free().min(BATCH);
        self.blocked.clear();
        if self.demand.any_blocked() {
            let demand = &self.demand;
            self.blocked.extend((0..self.indexes).map(|index| demand.blocked(PartitionIndex(index))));
        }
        let report = self.next_report.is_none_or(|at| at <= now);
        let MemorySource { shared, seat, blocked, .. } = self;
        let give = |given: Given<'_>| batch.push(delivery(shared, given));
        let look = shared.with(|broker, _| broker.look(*seat, now, free, blocked, report, give))?;
        if look.panics {
            injected_panic();
        }
        if !look.commits.is_empty() {
            self.next_report = now.checked_add(REPORT);
        }
        Ok(look)
    }

    /// Tells demand and observer what was gained and lost.
    fn rebalanced(&mut self, changes: &[Change]) {
        let name = |place: &Place| (place.destination.clone(), place.partition);
        let (mut assigned, mut revoked) = (Vec::new(), Vec::new());
        for change in changes {
            match change {
                Change::Assigned(place) => {
                    self.indexes = self.indexes.max(place.index.0 + 1);
                    self.demand.assign(place.index);
                    assigned.push(name(place));
                }
                Change::Revoked(place, out) => {
                    self.demand.unassign(place.index);
                    revoked.push(name(place));
                    if *out > 0 {
                        let event = Event::LeaseLost { destination: &place.destination, count: *out };
                        self.observer.observe(event);
                    }
                }
            }
        }
        self.observer.observe(Event::Rebalanced { assigned: &assigned, revoked: &revoked });
    }

    fn report(&self, commits: &[Commit]) {
        for Commit { place: Place { destination, partition, .. }, offset, lag } in commits {
            let partition = *partition;
            self.observer.observe(Event::Committed { destination, partition, offset: *offset });
            self.observer.observe(Event::Lag { destination, partition, messages: *lag });
        }
    }

    fn received(&self, batch: &[Delivery<MemorySettler>]) {
        let destination = |d: &Delivery<MemorySettler>| d.message.origin().map(|o| o.destination.clone());
        let mut counts: Vec<(Arc<Destination>, usize)> = Vec::with_capacity(1);
        for run in batch.chunk_by(|a, b| a.partition == b.partition) {
            let Some(destination) = run.first().and_then(destination) else { continue };
            match counts.iter_mut().find(|(known, _)| Arc::ptr_eq(known, &destination)) {
                Some((_, count)) => *count += run.len(),
                None => counts.push((destination, run.len())),
            }
        }
        for (destination, count) in &counts {
            self.observer.observe(Event::Received { destination, count: *count });
        }
    }

    /// Waits for anything that may matter: the demand changed, the broker has something, or it is time.
    async fn wait(&self, mut changed: Pin<&mut Changed>, due: Option<Instant>) {
        let mut timer = pin!(due.map(|due| tokio::time::sleep_until(due.into())));
        poll_fn(|cx| {
            if changed.as_mut().poll(cx).is_ready() || self.poll_signal(cx).is_ready() {
                return Poll::Ready(());
            }
            timer.as_mut().as_pin_mut().map_or(Poll::Pending, |timer| timer.poll(cx))
        })
        .await
    }

    fn poll_signal(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.shared.with(|broker, _| {
            let Some(member) = broker.groups[self.seat.group].member(self.seat.member) else {
                return Poll::Pending;
            };
            if member.signal {
                return Poll::Ready(());
            }
            member.waker = Some(cx.waker().clone());
            Poll::Pending
        })
    }

    fn leave(&mut self) {
        if std::mem::replace(&mut self.left, true) {
            return;
        }
        let (commits, places) = self.shared.with(|broker, fx| broker.leave(self.seat, fx));
        self.report(&commits);
        let revoked: Vec<_> = places.into_iter().map(|place| (place.destination, place.partition)).collect();
        if !revoked.is_empty() {
            self.observer.observe(Event::Rebalanced { assigned: &[], revoked: &revoked });
        }
    }
}

impl Source for MemorySource {
    type Settler = MemorySettler;

    async fn receive(&mut self) -> Result<Vec<Delivery<MemorySettler>>, Error> {
        let mut batch = Vec::new();
        loop {
            let mut changed = pin!(self.demand.changed());
            if self.demand.stopping() {
                return Ok(batch);
            }
            let look = self.look(tokio::time::Instant::now().into_std(), &mut batch)?;
            if !look.changes.is_empty() {
                self.rebalanced(&look.changes);
                continue;
            }
            self.report(&look.commits);
            if !batch.is_empty() {
                self.received(&batch);
                return Ok(batch);
            }
            let report = self.next_report.filter(|_| look.dirty);
            self.wait(changed.as_mut(), [look.due, report].into_iter().flatten().min()).await;
        }
    }

    /// Leaves the group. What was not settled goes to another member, or to the next one that joins.
    async fn close(mut self, _: Instant) -> Result<(), Error> {
        self.leave();
        Ok(())
    }
}

impl Drop for MemorySource {
    fn drop(&mut self) {
        self.leave();
    }
}

impl fmt::Debug for MemorySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemorySource").field("seat", &self.seat).field("demand", &self.demand).finish()
    }
}

fn delivery(shared: &Arc<Shared>, given: Given<'_>) -> Delivery<MemorySettler> {
    let mut origin = Origin::new(given.destination.clone());
    origin.partition = Some(given.partition);
    origin.offset = Some(given.handed.offset);
    origin.delivery_count = given.delivery_count;
    Delivery {
        message: given.record.message(origin),
        settler: MemorySettler::new(shared.clone(), given.handed),
        lease: given.lease.clone(),
        partition: given.index,
    }
}
