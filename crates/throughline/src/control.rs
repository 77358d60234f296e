//! What the actor, the loop and the handle of one worker share.

use crate::{
    heard::Heard,
    status::{Blocked, Counts},
};
use futures_util::task::AtomicWaker;
use std::{
    fmt,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use throughline_core::DemandControl;
use throughline_trace::WorkerFigures;
use tokio::sync::Notify;

/// What the loop is asked to do. Only ever goes up, but for pause.
const RUN: u8 = 0;
const DRAIN: u8 = 1;
const CANCEL: u8 = 2;

/// Shared by everything that belongs to one worker actor. The loop writes its gauges once a turn, not for a message.
pub(crate) struct Control {
    asked: AtomicU8,
    /// Until when a drain may take; `None` while none was asked for.
    deadline: Mutex<Option<Instant>>,
    paused: AtomicBool,
    waker: AtomicWaker,
    started: Instant,
    /// Since when the loop has been inside one poll, in milliseconds since `started`, plus one; 0 outside.
    busy_since: AtomicU64,
    pub(crate) in_flight: AtomicUsize,
    pub(crate) waiting: AtomicUsize,
    pub(crate) parked: AtomicUsize,
    pub(crate) counts: Counters,
    demand: Mutex<Option<DemandControl>>,
    blocked: Mutex<Option<Blocked>>,
    pub(crate) heard: Heard,
    /// Tells whoever waits for a status that it may be another by now.
    pub(crate) changed: Notify,
}

/// Counted since the worker was spawned, over all its restarts.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) received: AtomicU64,
    pub(crate) acked: AtomicU64,
    pub(crate) nacked: AtomicU64,
    pub(crate) put_aside: AtomicU64,
    pub(crate) panicked: AtomicU64,
    pub(crate) cancelled: AtomicU64,
    pub(crate) lease_lost: AtomicU64,
    pub(crate) settle_failed: AtomicU64,
    /// Starts after the first.
    pub(crate) restarted: AtomicU64,
}

impl Control {
    pub(crate) fn new() -> Self {
        Control {
            asked: AtomicU8::new(RUN),
            deadline: Mutex::new(None),
            paused: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            started: Instant::now(),
            busy_since: AtomicU64::new(0),
            in_flight: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            parked: AtomicUsize::new(0),
            counts: Counters::default(),
            demand: Mutex::new(None),
            blocked: Mutex::new(None),
            heard: Heard::default(),
            changed: Notify::new(),
        }
    }

    /// A new source and loop begin; what was asked before and is not for good goes on.
    pub(crate) fn begin(&self, demand: DemandControl) {
        if self.asked.load(Ordering::Acquire) != RUN {
            demand.stop();
        } else if self.is_paused() {
            demand.pause();
        }
        *self.demand() = Some(demand);
    }

    /// They ended.
    pub(crate) fn end(&self) {
        *self.demand() = None;
        *lock(&self.blocked) = None;
        self.busy_since.store(0, Ordering::Release);
        for gauge in [&self.in_flight, &self.waiting, &self.parked] {
            gauge.store(0, Ordering::Relaxed);
        }
        self.heard.forget();
    }

    /// The next incarnation may run: what the one before was told to do ended with it.
    pub(crate) fn again(&self) {
        self.asked.store(RUN, Ordering::Release);
    }

    /// A drain was asked for, and may take this long.
    pub(crate) fn drain_until(&self, deadline: Instant) {
        *lock(&self.deadline) = Some(deadline);
        self.drain();
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        *lock(&self.deadline)
    }

    pub(crate) fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::Release);
        if let Some(demand) = &*self.demand() {
            if paused { demand.pause() } else { demand.resume() }
        }
        self.waker.wake();
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Acquire)
    }

    /// Start nothing more, give back what waits, let what runs finish.
    pub(crate) fn drain(&self) {
        self.ask(DRAIN);
    }

    /// Drop what still runs.
    pub(crate) fn cancel(&self) {
        self.ask(CANCEL);
    }

    fn ask(&self, what: u8) {
        self.asked.fetch_max(what, Ordering::AcqRel);
        if let Some(demand) = &*self.demand() {
            demand.stop();
        }
        self.waker.wake();
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.asked.load(Ordering::Acquire) >= DRAIN
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.asked.load(Ordering::Acquire) >= CANCEL
    }

    /// Demand stops while the loop is stuck and comes back with it.
    pub(crate) fn hold_demand(&self, hold: bool) {
        if let Some(demand) = &*self.demand() {
            if hold || self.is_paused() { demand.pause() } else { demand.resume() }
        }
    }

    /// The loop enters one poll; it leaves when the guard is dropped, also by a panic.
    pub(crate) fn enter(&self, waker: &std::task::Waker) -> Busy<'_> {
        self.waker.register(waker);
        let since = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.busy_since.store(since + 1, Ordering::Release);
        Busy(self)
    }

    /// For how long the loop has been inside one poll: a synchronous handler that blocks it, most likely.
    pub(crate) fn busy_for(&self) -> Duration {
        match self.busy_since.load(Ordering::Acquire) {
            0 => Duration::ZERO,
            since => self.started.elapsed().saturating_sub(Duration::from_millis(since - 1)),
        }
    }

    pub(crate) fn set_blocked(&self, blocked: Option<Blocked>) {
        *lock(&self.blocked) = blocked;
    }

    pub(crate) fn blocked(&self) -> Option<Blocked> {
        lock(&self.blocked).clone()
    }

    /// What the metrics say of this replica; `letters`: what was put aside went to the dead letters.
    pub(crate) fn figures(&self, letters: bool) -> WorkerFigures {
        let of = |count: &AtomicUsize| count.load(Ordering::Relaxed) as u64;
        let (counts, mut figures) = (self.counts(), WorkerFigures::default());
        figures.in_flight = of(&self.in_flight);
        figures.waiting = of(&self.waiting);
        figures.restarts = self.counts.restarted.load(Ordering::Relaxed);
        figures.leases_lost = counts.lease_lost;
        *(if letters { &mut figures.dead_letters } else { &mut figures.discarded }) = counts.put_aside;
        figures
    }

    pub(crate) fn counts(&self) -> Counts {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            received: of(&self.counts.received),
            acked: of(&self.counts.acked),
            nacked: of(&self.counts.nacked),
            put_aside: of(&self.counts.put_aside),
            panicked: of(&self.counts.panicked),
            cancelled: of(&self.counts.cancelled),
            lease_lost: of(&self.counts.lease_lost),
            settle_failed: of(&self.counts.settle_failed),
            skipped: of(&self.heard.skipped),
        }
    }

    fn demand(&self) -> MutexGuard<'_, Option<DemandControl>> {
        lock(&self.demand)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The loop is inside a poll.
pub(crate) struct Busy<'a>(&'a Control);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.busy_since.store(0, Ordering::Release);
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").field("asked", &self.asked).field("paused", &self.paused).finish()
    }
}
