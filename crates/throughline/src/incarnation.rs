//! One life of a worker: source, pump, loop and stack, from a start to an end. A restart makes a new one.

use crate::{
    control::Control,
    flush,
    middleware::Panicked,
    pump::{Gate, pump},
    shutdown::{Missed, Step, before_deadline},
    work_loop::{Settings, Supplies},
};
use futures_util::{
    FutureExt,
    future::{Either, select},
};
use std::{
    future::Future,
    panic::AssertUnwindSafe,
    pin::pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};
use throughline_core::{
    BoxError, Capacity, Demand, DemandControl, Event, Observe, Observer, Source, Subscription,
};
use throughline_trace::{Telemetry, TracingLayer};
use tokio::{
    runtime::Handle,
    sync::mpsc,
    task::unconstrained,
    time::{sleep_until, timeout_at},
};

/// How long an end may take that nobody asked for.
const OWN_GRACE: Duration = Duration::from_secs(10);

/// What an incarnation is given by its actor.
pub(crate) struct Surroundings {
    pub(crate) control: Arc<Control>,
    pub(crate) gate: Arc<dyn Gate>,
    pub(crate) tracing: TracingLayer,
    pub(crate) telemetry: Telemetry,
    pub(crate) data: Handle,
    /// Told once when the source is connected.
    pub(crate) connected: Box<dyn FnOnce() + Send>,
}

/// How it ended.
#[derive(Debug)]
pub(crate) enum Exit {
    /// Drained, or its subscription ended; with the first step of the drain that was not done in time.
    Ended(Option<Missed>),
    /// Something failed; the supervisor decides.
    Failed(BoxError),
}

/// Lives it. `work` makes the stack, and the loop around it; it is called inside the loop's task.
pub(crate) async fn live<Sub, W, Fut>(
    subscription: Arc<Sub>,
    work: Arc<W>,
    capacity: Capacity,
    settings: Settings,
    around: Surroundings,
) -> Exit
where
    Sub: Subscription,
    W: Fn(TracingLayer, Supplies<<Sub::Source as Source>::Settler>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    let Surroundings { control, gate, tracing, telemetry, data, connected } = around;
    let since = Instant::now();
    let (room, demand) = Demand::new(capacity);
    control.begin(room.clone());
    let observer = Both::or_one(control.clone(), telemetry.observer());
    let connecting = pin!(subscription.subscribe(demand.clone(), observer));
    let mut source = match select(connecting, pin!(stopping(demand.clone()))).await {
        Either::Left((Ok(source), _)) => source,
        Either::Left((Err(error), _)) => return Exit::Failed(error.into()),
        Either::Right(_) => return Exit::Ended(None),
    };
    connected();

    let (to, inbox) = mpsc::unbounded_channel();
    let working = {
        // However the loop ends, the source is told to stop.
        let stop = StopOnDrop(room.clone());
        let (room, control) = (room.clone(), control.clone());
        data.spawn(unconstrained(async move {
            let _stop = stop;
            // Built here, since tower's timers bind to the runtime that they are built on.
            work(tracing, Supplies { inbox, demand: room, control, settings }).await
        }))
    };
    let mut cancel = CancelOnDrop(Some(control.clone()));
    let pumped =
        AssertUnwindSafe(pump(&mut source, &room, &control, &telemetry, &gate, to)).catch_unwind().await;
    if !matches!(pumped, Ok(Ok(()))) {
        control.drain();
    }
    let before = control.counts.cancelled.load(Relaxed);
    let worked = finish(working, demand, &control).await;
    cancel.0 = None;
    let cut_off = control.counts.cancelled.load(Relaxed) - before;

    let (failed, missed) = match pumped {
        Ok(Ok(())) => (None, wind_up(source, &control, since).await),
        Ok(Err(error)) => (Some(BoxError::from(error)), wind_up(source, &control, since).await),
        // It is in an unknown state: dropped, not closed.
        Err(panic) => (Some(Panicked::new(panic).into()), None),
    };
    match (worked.err().or(failed), missed) {
        (Some(error), _) => Exit::Failed(error),
        (None, _) if cut_off > 0 => {
            Exit::Ended(Some(Missed::new(Step::Handlers, format!("{cut_off} handlers were cut off"))))
        }
        (None, missed) => Exit::Ended(missed),
    }
}

/// Waits for the loop. Shortly before a drain's deadline, or after its own grace where nobody asked, what still runs
/// is cancelled and given back. A source that ended by itself leaves work behind that may take its time.
async fn finish(
    mut work: tokio::task::JoinHandle<Result<(), BoxError>>,
    demand: Demand,
    control: &Control,
) -> Result<(), BoxError> {
    let limit = async {
        stopping(demand).await;
        let deadline = control.deadline().map_or_else(|| Instant::now() + OWN_GRACE, before_deadline);
        sleep_until(deadline.into()).await;
    };
    let joined = match select(&mut work, pin!(limit)).await {
        Either::Left((joined, _)) => joined,
        Either::Right(_) => {
            control.cancel();
            work.await
        }
    };
    match joined {
        Ok(result) => result,
        Err(error) if error.is_panic() => Err(Panicked::new(error.into_panic()).into()),
        Err(error) => Err(error.into()),
    }
}

/// Flushes publishers, then settlements: what a failed flush may belong to is not committed.
async fn wind_up<Src: Source>(source: Src, control: &Control, since: Instant) -> Option<Missed> {
    let asked = control.deadline();
    let deadline = asked.unwrap_or_else(|| Instant::now() + OWN_GRACE);
    if asked.is_some()
        && let Err(missed) = flush::flush_all_until(deadline, since).await
    {
        source.abandon();
        return Some(missed);
    }
    match timeout_at(deadline.into(), AssertUnwindSafe(source.close(deadline)).catch_unwind()).await {
        Ok(Ok(Ok(()))) => None,
        Ok(Ok(Err(error))) => Some(Missed::new(Step::Settlements, error)),
        Ok(Err(panic)) => Some(Missed::new(Step::Settlements, Panicked::new(panic))),
        Err(_) => Some(Missed::new(Step::Settlements, "the source did not close")),
    }
}

async fn stopping(demand: Demand) {
    loop {
        let changed = demand.changed();
        if demand.stopping() {
            return;
        }
        changed.await;
    }
}

/// Status and telemetry both hear what the adapter says.
struct Both(Observer, Observer);

impl Both {
    fn or_one(first: Observer, second: Option<Observer>) -> Observer {
        match second {
            Some(second) => Arc::new(Both(first, second)),
            None => first,
        }
    }
}

impl Observe for Both {
    fn observe(&self, event: Event<'_>) {
        self.0.observe(event);
        self.1.observe(event);
    }
}

struct StopOnDrop(DemandControl);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// If the incarnation is dropped or panics while its loop runs, the loop ends too.
struct CancelOnDrop(Option<Arc<Control>>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let Some(control) = &self.0 {
            control.cancel();
        }
    }
}
