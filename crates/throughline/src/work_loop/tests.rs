//! The loop with batches, under a clock that stands still until it is moved.

use super::*;
use crate::{
    batcher::{BatchPolicy, Batcher},
    lanes::Ordering,
    middleware::{Answering, OnReject, Redelay},
    stack,
};
use futures_util::future::BoxFuture;
use std::{
    future::ready,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use throughline_core::{
    Batch, Capacity, Demand, Destination, Error, ErrorKind, Lease, LeaseOwner, Message, Origin, Redelivery,
    Settlement, Settler,
};
use throughline_trace::TracingLayer;
use tokio::{
    sync::mpsc::{self, UnboundedSender},
    task::{JoinHandle, unconstrained},
    time::{advance, sleep},
};
use tower::service_fn;

const WITHIN: Duration = Duration::from_millis(100);
const ROOM: usize = 6;

/// What became of an offset; `None` is a settler that was dropped.
type Became = (i64, Option<Settlement>);

/// What became of each.
#[derive(Clone, Default)]
struct Settled(Arc<Mutex<Vec<Became>>>);

impl Settled {
    fn put(&self, offset: i64, how: Option<Settlement>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((offset, how));
    }

    fn taken(&self) -> Vec<Became> {
        let mut settled = std::mem::take(&mut *self.0.lock().unwrap());
        settled.sort_by_key(|(offset, _)| *offset);
        settled
    }
}

struct Owed {
    settled: Settled,
    offset: i64,
    lease: Lease,
    answered: bool,
}

impl Settler for Owed {
    fn settle(mut self, how: Settlement) -> impl Future<Output = Result<(), Error>> + Send {
        self.answered = true;
        if self.lease.is_lost() {
            return ready(Err(Error::new(ErrorKind::LeaseLost, "offset", "")));
        }
        self.settled.put(self.offset, Some(how));
        ready(Ok(()))
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        if !self.answered {
            self.settled.put(self.offset, None);
        }
    }
}

/// A worker without its pump.
struct Rig {
    send: Option<UnboundedSender<Vec<Item<Owed>>>>,
    demand: DemandControl,
    control: Arc<Control>,
    settled: Settled,
    batches: mpsc::UnboundedReceiver<Batch>,
    of: Arc<Destination>,
    work: JoinHandle<Result<(), BoxError>>,
}

impl Rig {
    /// `handle` is told each batch and answers it.
    fn new<Fut>(policy: BatchPolicy, on_lease_lost: OnLeaseLost, handle: fn(Batch) -> Fut) -> Self
    where
        Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        Rig::with_room(Capacity { messages: ROOM, bytes: 1 << 20 }, policy, on_lease_lost, handle)
    }

    fn with_room<Fut>(
        room: Capacity,
        policy: BatchPolicy,
        on_lease_lost: OnLeaseLost,
        handle: fn(Batch) -> Fut,
    ) -> Self
    where
        Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        let (send, inbox) = mpsc::unbounded_channel();
        let (tell, batches) = mpsc::unbounded_channel();
        let (demand, _) = Demand::new(room);
        let control = Arc::new(Control::new());
        let answering = Answering {
            redelivery: Redelivery::Worker,
            redelay: Redelay::exponential(WITHIN, WITHIN),
            dead_letter: None,
            on_reject: OnReject::Hold,
        };
        let stack = stack::batch(
            TracingLayer::passthrough(),
            Arc::new(answering),
            service_fn(move |batch: Batch| {
                let _ = tell.send(batch.clone());
                handle(batch)
            }),
        );
        let settings = Settings { in_flight: 4, on_lease_lost };
        let supplies = Supplies { inbox, demand: demand.clone(), control: control.clone(), settings };
        let work = WorkLoop::new(stack, Batcher::new(policy, Ordering::Partition), supplies).run();
        let work = tokio::runtime::Handle::current().spawn(unconstrained(work));
        let of = Arc::new(Destination::new("test", "topic"));
        Rig { send: Some(send), demand, control, settled: Settled::default(), batches, of, work }
    }

    /// Delivers these offsets of the one partition, and lets the loop see them.
    async fn deliver(&mut self, offsets: std::ops::Range<i64>) -> Vec<LeaseOwner> {
        let (mut owners, mut items) = (Vec::new(), Vec::new());
        for offset in offsets {
            let (owner, lease) = Lease::new(Some(self.demand.demand().clone()));
            owners.push(owner);
            let mut origin = Origin::new(self.of.clone());
            (origin.partition, origin.offset) = (Some(0), Some(offset));
            let message = Message::received(Some("x".into()), None, Default::default(), origin);
            let settler =
                Owed { settled: self.settled.clone(), offset, lease: lease.clone(), answered: false };
            let partition = PartitionIndex(0);
            items.push(Item::new(Delivery { message, settler, lease, partition }));
        }
        self.demand.take(PartitionIndex(0), items.len(), items.len());
        self.send.as_ref().unwrap().send(items).unwrap();
        settle().await;
        owners
    }

    /// The offsets of the batch that was handed out, if one was.
    fn batch(&mut self) -> Option<Vec<i64>> {
        let batch = self.batches.try_recv().ok()?;
        Some(batch.iter().map(|message| message.origin().unwrap().offset.unwrap()).collect())
    }
}

/// Lets everything run that can, without moving the clock.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

fn done(_: Batch) -> std::future::Ready<Result<(), BoxError>> {
    ready(Ok(()))
}

fn never(_: Batch) -> BoxFuture<'static, Result<(), BoxError>> {
    Box::pin(std::future::pending())
}

fn fails(_: Batch) -> std::future::Ready<Result<(), BoxError>> {
    ready(Err("no".into()))
}

fn slowly(_: Batch) -> BoxFuture<'static, Result<(), BoxError>> {
    Box::pin(async {
        sleep(10 * WITHIN).await;
        Ok(())
    })
}

fn acks(offsets: std::ops::Range<i64>) -> Vec<Became> {
    offsets.map(|offset| (offset, Some(Settlement::Ack))).collect()
}

#[tokio::test(start_paused = true)]
async fn a_batch_waits_for_its_number_or_its_time_and_no_longer() {
    let mut rig = Rig::new(BatchPolicy::at_most(3).within(WITHIN), OnLeaseLost::Cancel, done);
    rig.deliver(0..2).await;
    advance(WITHIN - Duration::from_millis(2)).await;
    settle().await;
    assert_eq!(rig.batch(), None);
    advance(Duration::from_millis(3)).await;
    settle().await;
    assert_eq!(rig.batch(), Some(vec![0, 1]));
    rig.deliver(2..5).await;
    assert_eq!(rig.batch(), Some(vec![2, 3, 4]), "at once");
    assert_eq!(rig.settled.taken(), acks(0..5));
    assert_eq!(rig.demand.held(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_batch_closes_when_the_buffer_is_full() {
    let mut rig = Rig::new(BatchPolicy::at_most(100).within(WITHIN), OnLeaseLost::Cancel, done);
    rig.deliver(0..ROOM as i64 - 1).await;
    assert_eq!(rig.batch(), None);
    rig.deliver(5..6).await;
    assert_eq!(rig.batch(), Some(vec![0, 1, 2, 3, 4, 5]), "nothing more could come");

    // Full of bytes, of which no single partition has too many.
    let room = Capacity { messages: 100, bytes: ROOM };
    let policy = BatchPolicy::at_most(100).within(WITHIN);
    let mut rig = Rig::with_room(room, policy, OnLeaseLost::Cancel, done);
    rig.deliver(0..ROOM as i64).await;
    assert_eq!(rig.batch(), Some(vec![0, 1, 2, 3, 4, 5]));
}

#[tokio::test(start_paused = true)]
async fn a_batch_closes_when_its_source_ends_and_when_the_worker_drains() {
    for drain in [true, false] {
        let mut rig = Rig::new(BatchPolicy::at_most(100).within(WITHIN), OnLeaseLost::Cancel, done);
        rig.deliver(0..3).await;
        if drain {
            rig.control.drain();
        } else {
            rig.send = None;
        }
        rig.work.await.unwrap().unwrap();
        assert_eq!(rig.batches.recv().await.map(|batch| batch.len()), Some(3), "drained: {drain}");
        assert_eq!(rig.settled.taken(), acks(0..3));
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_behind_a_batch_is_given_back_at_a_drain() {
    let mut rig = Rig::new(BatchPolicy::at_most(2).within(WITHIN), OnLeaseLost::Cancel, slowly);
    rig.deliver(0..5).await;
    assert_eq!(rig.batch(), Some(vec![0, 1]));
    rig.control.drain();
    rig.work.await.unwrap().unwrap();
    let settled = rig.settled.taken();
    assert_eq!(settled, [acks(0..2), (2..5).map(|offset| (offset, None)).collect()].concat());
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_cancelled_when_all_of_it_is_lost_and_not_before() {
    let mut rig = Rig::new(BatchPolicy::at_most(2).within(WITHIN), OnLeaseLost::Cancel, slowly);
    let owners = rig.deliver(0..2).await;
    assert_eq!(rig.batch(), Some(vec![0, 1]));
    owners[0].lose();
    settle().await;
    assert_eq!(rig.control.counts().cancelled, 0);
    sleep(20 * WITHIN).await;
    assert_eq!(
        rig.settled.taken(),
        [(1, Some(Settlement::Ack))],
        "the late answer to the other has no effect"
    );
    assert_eq!(rig.control.counts().settle_failed, 0);

    let mut rig = Rig::new(BatchPolicy::at_most(2).within(WITHIN), OnLeaseLost::Cancel, never);
    let owners = rig.deliver(0..2).await;
    assert_eq!(rig.batch(), Some(vec![0, 1]));
    owners.iter().for_each(LeaseOwner::lose);
    settle().await;
    assert_eq!(rig.control.counts().cancelled, 1);
    assert_eq!(rig.demand.held(), (0, 0));

    let mut rig = Rig::new(BatchPolicy::at_most(2).within(WITHIN), OnLeaseLost::Tell, slowly);
    let owners = rig.deliver(0..2).await;
    owners.iter().for_each(LeaseOwner::lose);
    settle().await;
    assert_eq!(rig.control.counts().cancelled, 0, "told, and left alone");
}

#[tokio::test(start_paused = true)]
async fn what_is_lost_before_it_is_handed_out_is_not_in_the_batch() {
    let mut rig = Rig::new(BatchPolicy::at_most(3).within(WITHIN), OnLeaseLost::Cancel, done);
    let owners = rig.deliver(0..2).await;
    owners[1].lose();
    rig.deliver(2..4).await;
    assert_eq!(rig.batch(), Some(vec![0, 2, 3]));
    assert_eq!(
        rig.settled.taken(),
        [(0, Some(Settlement::Ack)), (1, None), (2, Some(Settlement::Ack)), (3, Some(Settlement::Ack))]
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_lost_while_it_is_parked_is_not_tried_again() {
    let mut rig = Rig::new(BatchPolicy::at_most(1).within(WITHIN), OnLeaseLost::Tell, fails);
    let owners = rig.deliver(0..1).await;
    assert_eq!((rig.batch(), rig.settled.taken(), rig.demand.held()), (Some(vec![0]), vec![], (1, 1)));
    owners[0].lose();
    settle().await;
    assert_eq!((rig.settled.taken(), rig.demand.held()), (vec![(0, None)], (0, 0)));
}
