//! What waits for the stack: messages by their lanes ([`Lanes`]), or batches of them ([`Batcher`](crate::batcher)).

use crate::{
    control::Control,
    lanes::{Claim, LaneId, Lanes},
    middleware::{Held, Outcome},
    parked::Parked,
    status::Blocked,
};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};
use throughline_core::{BoxError, Delivery, Demand, Error, ErrorKind, Lease, PartitionIndex, Settlement};
use tokio::time::Instant;

/// A message that waits.
pub(crate) struct Item<Z> {
    pub(crate) delivery: Delivery<Z>,
    /// Bytes, as the demand counts them: added up once.
    pub(crate) size: usize,
}

impl<Z> Item<Z> {
    #[inline]
    pub(crate) fn new(delivery: Delivery<Z>) -> Self {
        let size = delivery.message.size();
        Item { delivery, size }
    }
}

/// What is known of a call that runs.
pub(crate) trait Running {
    /// Whose permit it has.
    fn partition(&self) -> PartitionIndex;

    /// How many messages it handles.
    fn messages(&self) -> usize;

    /// Whether none of them is ours any more.
    fn is_lost(&self) -> bool;
}

/// What may make a batch close that is not full.
pub(crate) struct Pressure<'a> {
    /// Nothing more will come.
    pub(crate) ending: bool,
    pub(crate) demand: &'a Demand,
    pub(crate) assigned: &'a [PartitionIndex],
}

/// Waiting and parked messages, handed out in the portions that the stack takes.
pub(crate) trait Queue<Z> {
    /// What the stack is called with.
    type Request;
    /// What it answers.
    type Answer;
    type Tag: Running;

    /// Whether what is handed out forms over time.
    const FORMS: bool;

    fn push(&mut self, item: Item<Z>);

    /// Hands an item out that would be the next anyway, without taking it in.
    ///
    /// # Errors
    /// The item, if something of its lane is there already, or if what is handed out forms over time.
    fn claim(
        &mut self,
        item: Item<Z>,
        _started: impl FnOnce(&Delivery<Z>),
    ) -> Result<(Self::Tag, Self::Request), Item<Z>> {
        Err(item)
    }

    /// The call was not answered at once, so others wait for it from here on.
    fn hold(&mut self, _: &mut Self::Tag) {}

    /// Looks at the clock and at the room there is. When to look again, if nothing else happens.
    fn look(&mut self, pressure: &Pressure<'_>) -> Option<Instant>;

    /// Whether there is anything to hand out.
    fn has_ready(&self) -> bool;

    /// The next to be handed out. Each message in it is told to `started`, or to `lost` if it is no longer ours.
    fn next(
        &mut self,
        may_start: impl Fn(PartitionIndex) -> bool,
        started: impl FnMut(&Delivery<Z>),
        lost: impl FnMut(Item<Z>),
    ) -> Option<(Self::Tag, Self::Request)>;

    /// The call has been answered.
    fn finish(&mut self, tag: Self::Tag, result: Result<Self::Answer, BoxError>, books: &mut Books);

    /// The call was dropped.
    fn cancelled(&mut self, tag: Self::Tag, books: &mut Books);

    /// What is parked here is due.
    fn wake(&mut self, lane: LaneId);

    /// Takes out what `keep` says no to; it is told whether the message is parked or waits behind one that is.
    fn retain(&mut self, keep: impl Fn(&Item<Z>, bool) -> bool, gone: impl FnMut(Item<Z>));

    /// Messages that wait or are parked.
    fn waiting(&self) -> usize;

    /// Those that are parked.
    fn parked(&self) -> usize;
}

/// What the loop keeps of what is finished, whatever portions it came in.
pub(crate) struct Books {
    pub(crate) control: Arc<Control>,
    /// Acknowledged in this turn, to be added to the counters at its end.
    pub(crate) acked: u64,
    /// What was finished in this turn, to be told to the demand at its end.
    pub(crate) released: Vec<(PartitionIndex, usize, usize)>,
    pub(crate) parked: Parked,
    blocked: Option<LaneId>,
}

/// What is known of one message that is handled.
pub(crate) struct Tag {
    lane: Lane,
    partition: PartitionIndex,
    size: usize,
    lease: Lease,
}

/// The lane of a message that is handled.
#[derive(Clone, Copy)]
enum Lane {
    Open(LaneId),
    Claimed(Claim),
}

impl Running for Tag {
    fn partition(&self) -> PartitionIndex {
        self.partition
    }

    fn messages(&self) -> usize {
        1
    }

    fn is_lost(&self) -> bool {
        self.lease.is_lost()
    }
}

// Inlined always: the loop was one function before it had two queues, and calls made it 5 % slower.
impl<Z> Queue<Z> for Lanes<Item<Z>> {
    type Request = Delivery<Z>;
    type Answer = Outcome<Z>;
    type Tag = Tag;

    const FORMS: bool = false;

    #[inline(always)]
    fn push(&mut self, item: Item<Z>) {
        Lanes::push(self, item.delivery.partition, item, |item| item.delivery.message.key().map(|k| &k[..]));
    }

    #[inline(always)]
    fn claim(
        &mut self,
        item: Item<Z>,
        started: impl FnOnce(&Delivery<Z>),
    ) -> Result<(Tag, Delivery<Z>), Item<Z>> {
        let key = item.delivery.message.key().map(|key| &key[..]);
        match Lanes::claim(self, item.delivery.partition, key) {
            Some(claim) if !item.delivery.lease.is_lost() => {
                started(&item.delivery);
                let Item { delivery, size } = item;
                let (lane, lease) = (Lane::Claimed(claim), delivery.lease.clone());
                Ok((Tag { lane, partition: delivery.partition, size, lease }, delivery))
            }
            _ => Err(item),
        }
    }

    #[inline(always)]
    fn hold(&mut self, tag: &mut Tag) {
        if let Lane::Claimed(claim) = tag.lane {
            tag.lane = Lane::Open(Lanes::hold(self, claim));
        }
    }

    #[inline(always)]
    fn look(&mut self, _: &Pressure<'_>) -> Option<Instant> {
        None
    }

    #[inline(always)]
    fn has_ready(&self) -> bool {
        Lanes::has_ready(self)
    }

    #[inline(always)]
    fn next(
        &mut self,
        may_start: impl Fn(PartitionIndex) -> bool,
        mut started: impl FnMut(&Delivery<Z>),
        mut lost: impl FnMut(Item<Z>),
    ) -> Option<(Tag, Delivery<Z>)> {
        loop {
            let (lane, item) = Lanes::next(self, &may_start)?;
            if item.delivery.lease.is_lost() {
                lost(item);
                self.done(lane);
                continue;
            }
            let Item { delivery, size } = item;
            started(&delivery);
            let (lane, lease) = (Lane::Open(lane), delivery.lease.clone());
            let tag = Tag { lane, partition: delivery.partition, size, lease };
            return Some((tag, delivery));
        }
    }

    #[inline(always)]
    fn finish(&mut self, tag: Tag, result: Result<Outcome<Z>, BoxError>, books: &mut Books) {
        books.count_panic([&result]);
        let before = if let Lane::Open(lane) = tag.lane { Some(lane) } else { None };
        match books.settled(before, &tag.lease, result) {
            None => self.cancelled(tag, books),
            Some((how, held)) => {
                let lane = match tag.lane {
                    Lane::Open(lane) => lane,
                    Lane::Claimed(claim) => Lanes::hold(self, claim),
                };
                books.held(before, lane, how, &held);
                books.parked.push(Instant::now() + held.after, lane);
                self.park(lane, Item { delivery: held.delivery, size: tag.size });
            }
        }
    }

    #[inline(always)]
    fn cancelled(&mut self, tag: Tag, books: &mut Books) {
        if let Lane::Open(lane) = tag.lane {
            self.done(lane);
        }
        books.release(tag.partition, tag.size);
    }

    fn wake(&mut self, lane: LaneId) {
        Lanes::wake(self, lane);
    }

    fn retain(&mut self, keep: impl Fn(&Item<Z>, bool) -> bool, gone: impl FnMut(Item<Z>)) {
        Lanes::retain(self, keep, gone);
    }

    fn waiting(&self) -> usize {
        Lanes::waiting(self)
    }

    fn parked(&self) -> usize {
        Lanes::parked(self)
    }
}

impl Books {
    pub(crate) fn new(control: Arc<Control>) -> Self {
        Books { control, acked: 0, released: Vec::new(), parked: Parked::default(), blocked: None }
    }

    /// It no longer counts in the buffer. Adds to the last entry where it is of the same partition: most turns need one.
    #[inline(always)]
    pub(crate) fn release(&mut self, partition: PartitionIndex, size: usize) {
        match self.released.last_mut() {
            Some((last, messages, bytes)) if *last == partition => {
                *messages += 1;
                *bytes += size;
            }
            _ => self.released.push((partition, 1, size)),
        }
    }

    /// Counts one handler that panicked, if one did, of however many messages.
    #[inline(always)]
    pub(crate) fn count_panic<'a, Z: 'a>(
        &self,
        results: impl IntoIterator<Item = &'a Result<Outcome<Z>, BoxError>>,
    ) {
        let mut failed = results.into_iter().filter_map(|result| result.as_ref().ok()?.failed.as_ref());
        if failed.any(|failed| failed.failure.error_type == "panic") {
            self.control.counts.panicked.fetch_add(1, Relaxed);
        }
    }

    /// Counts what became of one message. What is to be parked comes back. `lane` is where it was parked before.
    #[inline(always)]
    pub(crate) fn settled<Z>(
        &mut self,
        lane: Option<LaneId>,
        lease: &Lease,
        result: Result<Outcome<Z>, BoxError>,
    ) -> Option<(Settlement, Held<Z>)> {
        match result {
            Ok(Outcome { how, failed }) => {
                let counts = &self.control.counts;
                let one = |count: &AtomicU64| _ = count.fetch_add(1, Relaxed);
                match how {
                    Settlement::Ack => self.acked += 1,
                    _ if failed.as_ref().is_some_and(|failed| failed.put_aside) => one(&counts.put_aside),
                    _ => one(&counts.nacked),
                }
                if let Some(mut held) = failed.and_then(|failed| failed.held)
                    && !lease.is_lost()
                {
                    held.delivery.lease = lease.clone();
                    return Some((how, held));
                }
                if self.blocked.is_some() && self.blocked == lane {
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
        None
    }

    /// A message is parked in a lane, and was perhaps parked in another before. If it was rejected, the status says
    /// where the worker is blocked.
    #[cold]
    pub(crate) fn held<Z>(&mut self, before: Option<LaneId>, lane: LaneId, how: Settlement, held: &Held<Z>) {
        if self.blocked.is_some() && self.blocked == before {
            self.blocked = Some(lane);
        }
        if how != Settlement::Reject || self.blocked.is_some() {
            return;
        }
        self.blocked = Some(lane);
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
}
