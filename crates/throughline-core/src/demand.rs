//! How much more a worker can take: what a source asks before it asks its broker.

use crate::{PartitionIndex, Share, waiters::Waiters};
use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

/// How much a worker may hold in all, from the moment it is handed over until it is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Messages.
    pub messages: usize,
    /// Bytes of payload, key and headers. One message is always taken, however large.
    pub bytes: usize,
}

/// Whether messages flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// They do.
    Flowing,
    /// Somebody paused the worker: nothing is handed over, the membership is kept.
    Paused,
    /// The worker ends: [`Source::receive`](crate::Source::receive) answers with nothing and is not called again.
    Stopping,
}

/// How much more a worker can take. Shared by the worker and its source; a clone is one reference count.
///
/// Reading it costs an atomic load. Its lock is taken once a batch by the worker, never for a message.
#[derive(Clone)]
pub struct Demand(Arc<Shared>);

/// The worker's side of a [`Demand`].
#[derive(Clone)]
pub struct DemandControl(Demand);

struct Shared {
    state: Mutex<State>,
    /// What `Demand::free` answers.
    free: AtomicUsize,
    stopping: AtomicBool,
    /// Whether any partition is blocked, so that a source need not ask for each.
    any_blocked: AtomicBool,
    lease_lost: AtomicBool,
}

struct State {
    phase: Phase,
    capacity: Capacity,
    share: Share,
    bytes: usize,
    bytes_of: Vec<usize>,
    blocked: Vec<bool>,
    /// Counts up at every change that a source may act on.
    version: u64,
    assignment: u64,
    waiting: Waiters,
    worker: Option<Waker>,
}

impl Demand {
    /// For a worker that may hold this much.
    pub fn new(capacity: Capacity) -> (DemandControl, Demand) {
        let demand = Demand(Arc::new(Shared {
            state: Mutex::new(State {
                phase: Phase::Flowing,
                capacity,
                share: Share::new(capacity.messages),
                bytes: 0,
                bytes_of: Vec::new(),
                blocked: Vec::new(),
                version: 0,
                assignment: 0,
                waiting: Waiters::default(),
                worker: None,
            }),
            free: AtomicUsize::new(capacity.messages),
            stopping: AtomicBool::new(false),
            any_blocked: AtomicBool::new(false),
            lease_lost: AtomicBool::new(false),
        }));
        (DemandControl(demand.clone()), demand)
    }

    /// How many messages may be handed over now; 0 while paused or stopping.
    pub fn free(&self) -> usize {
        self.0.free.load(Ordering::Acquire)
    }

    /// Whether this partition holds its share of the buffer: hand over no more of it until [`changed`](Self::changed).
    pub fn blocked(&self, partition: PartitionIndex) -> bool {
        self.0.any_blocked.load(Ordering::Acquire)
            && self.state().blocked.get(partition.0 as usize).copied().unwrap_or(false)
    }

    /// Whether any partition is blocked.
    pub fn any_blocked(&self) -> bool {
        self.0.any_blocked.load(Ordering::Acquire)
    }

    /// Whether the worker ends.
    pub fn stopping(&self) -> bool {
        self.0.stopping.load(Ordering::Acquire)
    }

    /// Whether messages flow.
    pub fn phase(&self) -> Phase {
        self.state().phase
    }

    /// Resolves at the first change after this call: room, a partition blocked or free again, pause, resume, stop.
    /// Take it first and look then, so that no change falls in between.
    ///
    /// # Cancel safety
    /// Dropping it forgets the wait and nothing else.
    pub fn changed(&self) -> Changed {
        Changed { demand: self.clone(), seen: self.state().version, slot: None }
    }

    /// A partition is assigned: it is no longer starved by the others.
    pub fn assign(&self, partition: PartitionIndex) {
        self.update(|state| {
            state.share.assign(partition);
            state.assignment += 1;
        });
        self.wake_worker();
    }

    /// A partition is gone: nothing is kept free for it any more.
    pub fn unassign(&self, partition: PartitionIndex) {
        self.update(|state| {
            state.share.unassign(partition);
            state.assignment += 1;
        });
        self.wake_worker();
    }

    /// A lease of a delivered message was lost; [`LeaseOwner::lose`](crate::LeaseOwner::lose) says this by itself.
    pub(crate) fn lease_lost(&self) {
        self.0.lease_lost.store(true, Ordering::Release);
        self.wake_worker();
    }

    fn wake_worker(&self) {
        let worker = self.state().worker.take();
        if let Some(worker) = worker {
            worker.wake();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies a change, derives what is read without the lock, and wakes the source if it may act on it.
    fn update(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        let before = self.0.free.load(Ordering::Relaxed);
        let phase = state.phase;
        change(&mut state);
        let free = state.free();
        let blocked_changed = state.update_blocked();
        self.0.free.store(free, Ordering::Release);
        self.0.any_blocked.store(state.blocked.contains(&true), Ordering::Release);
        self.0.stopping.store(state.phase == Phase::Stopping, Ordering::Release);
        // More room matters to a source that had none or little; it need not be told of each message.
        let more_room = free > before && before < state.capacity.messages.div_ceil(2);
        if more_room || blocked_changed || state.phase != phase {
            state.version += 1;
            let waiting = state.waiting.take();
            drop(state);
            waiting.for_each(Waker::wake);
        }
    }
}

impl State {
    fn free(&self) -> usize {
        if self.phase != Phase::Flowing {
            return 0;
        }
        let idle_place = usize::from(self.share.free() > 0 && self.share.used() == 0);
        if self.bytes >= self.capacity.bytes { idle_place } else { self.share.free() }
    }

    fn update_blocked(&mut self) -> bool {
        let mut changed = false;
        let several = self.share.assigned() > 1;
        let enough = (self.share.limit() / self.share.assigned().max(1) / 2).max(1);
        for at in 0..self.bytes_of.len() {
            let partition = PartitionIndex(at as u32);
            let held = self.share.held(partition);
            let full =
                !self.share.may_take(partition) || (several && self.bytes_of[at] >= self.capacity.bytes / 2);
            // Free again only when there is room for half an equal share: a pause is dear for some clients. The room
            // counts, not what the partition holds: that may be stuck, and must not keep the rest of it away.
            let now = held > 0 && (full || self.blocked[at] && self.share.room(partition) < enough);
            changed |= now != self.blocked[at];
            self.blocked[at] = now;
        }
        changed
    }
}

impl DemandControl {
    /// What the source sees.
    pub fn demand(&self) -> &Demand {
        &self.0
    }

    /// What was handed over counts from here on.
    pub fn take(&self, partition: PartitionIndex, messages: usize, bytes: usize) {
        self.0.update(|state| {
            let at = partition.0 as usize;
            if at >= state.bytes_of.len() {
                state.bytes_of.resize(at + 1, 0);
                state.blocked.resize(at + 1, false);
            }
            state.share.take(partition, messages);
            state.bytes += bytes;
            state.bytes_of[at] += bytes;
        });
    }

    /// What was settled or given back no longer counts.
    pub fn release(&self, done: impl IntoIterator<Item = (PartitionIndex, usize, usize)>) {
        self.0.update(|state| {
            for (partition, messages, bytes) in done {
                state.share.release(partition, messages);
                state.bytes = state.bytes.saturating_sub(bytes);
                if let Some(of) = state.bytes_of.get_mut(partition.0 as usize) {
                    *of = of.saturating_sub(bytes);
                }
            }
        });
    }

    /// Hands over nothing until [`resume`](Self::resume). A worker that ends stays ending.
    pub fn pause(&self) {
        self.set_phase(Phase::Paused);
    }

    /// Lets messages flow again.
    pub fn resume(&self) {
        self.set_phase(Phase::Flowing);
    }

    /// Ends the flow for good.
    pub fn stop(&self) {
        self.set_phase(Phase::Stopping);
    }

    fn set_phase(&self, phase: Phase) {
        self.0.update(|state| {
            if state.phase != Phase::Stopping {
                state.phase = phase;
            }
        });
    }

    /// How much is held now, in messages and bytes.
    pub fn held(&self) -> (usize, usize) {
        let state = self.0.state();
        (state.share.used(), state.bytes)
    }

    /// Registers the worker to be woken when a lease is lost or the assignment changes, and tells what happened since
    /// the last call: whether a lease was lost, and the assigned partitions if they changed since `seen`.
    pub fn poll_source(&self, waker: &Waker, seen: &mut u64) -> (bool, Option<Vec<PartitionIndex>>) {
        let mut state = self.0.state();
        if !state.worker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            state.worker = Some(waker.clone());
        }
        let lost = self.0.0.lease_lost.swap(false, Ordering::AcqRel);
        let assigned = (state.assignment != *seen).then(|| state.share.partitions().collect());
        *seen = state.assignment;
        (lost, assigned)
    }
}

/// The future of [`Demand::changed`].
pub struct Changed {
    demand: Demand,
    seen: u64,
    slot: Option<u64>,
}

impl Future for Changed {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let mut state = this.demand.state();
        if state.version != this.seen {
            return Poll::Ready(());
        }
        state.waiting.add(&mut this.slot, cx);
        Poll::Pending
    }
}

impl Drop for Changed {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            self.demand.state().waiting.forget(slot);
        }
    }
}

impl fmt::Debug for Demand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Demand").field("free", &self.free()).field("stopping", &self.stopping()).finish()
    }
}

impl fmt::Debug for DemandControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DemandControl").field(&self.0).finish()
    }
}

impl fmt::Debug for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Changed")
    }
}

#[cfg(test)]
mod tests;
