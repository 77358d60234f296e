//! What is looked up only when metrics are collected: it costs the workers nothing.

use super::lags::Lags;
use crate::semconv as key;
use opentelemetry::{KeyValue, metrics::Meter};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

/// A worker's numbers, over all its replicas. Those that count do so since the worker was spawned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerFigures {
    /// Handlers that run.
    pub in_flight: u64,
    /// Messages that wait, those among them that are to be tried again.
    pub waiting: u64,
    /// Starts after the first.
    pub restarts: u64,
    /// Messages that the dead letters accepted.
    pub dead_letters: u64,
    /// Messages that were dropped because the user said so.
    pub discarded: u64,
    /// Deliveries that were no longer ours when they were settled, or before.
    pub leases_lost: u64,
}

impl WorkerFigures {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: WorkerFigures) -> WorkerFigures {
        WorkerFigures {
            in_flight: self.in_flight + other.in_flight,
            waiting: self.waiting + other.waiting,
            restarts: self.restarts + other.restarts,
            dead_letters: self.dead_letters + other.dead_letters,
            discarded: self.discarded + other.discarded,
            leases_lost: self.leases_lost + other.leases_lost,
        }
    }
}

type Ask = Box<dyn Fn() -> Option<WorkerFigures> + Send + Sync>;

/// Who is asked at a collection. The SDK keeps what it calls for as long as it lives, so workers come and go here.
#[derive(Default)]
pub(crate) struct Registry {
    workers: Mutex<Vec<(String, Ask)>>,
    lags: Mutex<Vec<Weak<Lags>>>,
}

impl Registry {
    /// A registry that this meter's observable instruments ask.
    pub(crate) fn new(meter: &Meter, spans_dropped: impl Fn() -> u64 + Send + Sync + 'static) -> Arc<Self> {
        let registry = Arc::<Registry>::default();
        registry.gauges(meter);
        registry.counters(meter);
        let lags = registry.clone();
        let lag = meter.i64_observable_gauge(key::LAG).with_unit("{message}");
        lag.with_description("How far a consumer is behind the end of a partition.")
            .with_callback(move |to| {
                lags.lags().retain(|lags| {
                    let Some(lags) = lags.upgrade() else { return false };
                    lags.each(|messages, attributes| to.observe(messages, attributes));
                    true
                });
            })
            .build();
        meter
            .u64_observable_counter(key::SPANS_DROPPED)
            .with_unit("{span}")
            .with_description("Spans that never reached their backend.")
            .with_callback(move |to| to.observe(spans_dropped(), &[]))
            .build();
        registry
    }

    fn gauges(self: &Arc<Self>, meter: &Meter) {
        type Of = fn(&WorkerFigures) -> u64;
        let all: [(_, _, Of); 2] = [
            (key::IN_FLIGHT, "Handlers that run.", |of| of.in_flight),
            (key::WAITING, "Messages that wait in a worker.", |of| of.waiting),
        ];
        for (name, what, of) in all {
            let registry = self.clone();
            let builder = meter.i64_observable_up_down_counter(name).with_unit("{message}");
            builder
                .with_description(what)
                .with_callback(move |to| {
                    let signed = |figure| i64::try_from(figure).unwrap_or(i64::MAX);
                    registry.each_worker(|figures, worker| to.observe(signed(of(&figures)), worker));
                })
                .build();
        }
    }

    fn counters(self: &Arc<Self>, meter: &Meter) {
        type Of = fn(&WorkerFigures) -> u64;
        let all: [(_, _, _, Of); 4] = [
            (key::RESTARTS, "{restart}", "Starts of a worker after its first.", |of| of.restarts),
            (key::DEAD_LETTERS, "{message}", "Messages that the dead letters accepted.", |of| {
                of.dead_letters
            }),
            (key::DISCARDED, "{message}", "Messages that were dropped on request.", |of| of.discarded),
            (key::LEASES_LOST, "{message}", "Deliveries that were no longer ours.", |of| of.leases_lost),
        ];
        for (name, unit, what, of) in all {
            let registry = self.clone();
            let builder = meter.u64_observable_counter(name).with_unit(unit).with_description(what);
            builder
                .with_callback(move |to| {
                    registry.each_worker(|figures, worker| to.observe(of(&figures), worker));
                })
                .build();
        }
    }

    /// Asks about this worker until the answer is `None`.
    pub(crate) fn watch(&self, worker: String, ask: Ask) {
        lock(&self.workers).push((worker, ask));
    }

    pub(super) fn watch_lags(&self, lags: &Arc<Lags>) {
        let mut all = self.lags();
        all.retain(|lags| lags.strong_count() > 0);
        all.push(Arc::downgrade(lags));
    }

    /// Workers of one name are one: a series has one value.
    fn each_worker(&self, mut tell: impl FnMut(WorkerFigures, &[KeyValue])) {
        let mut found = BTreeMap::<String, WorkerFigures>::new();
        lock(&self.workers).retain(|(worker, ask)| {
            let Some(figures) = ask() else { return false };
            let sum = found.entry(worker.clone()).or_default();
            *sum = sum.plus(figures);
            true
        });
        for (worker, figures) in found {
            tell(figures, &[KeyValue::new(key::WORKER, worker)]);
        }
    }

    fn lags(&self) -> MutexGuard<'_, Vec<Weak<Lags>>> {
        lock(&self.lags)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
