//! Where workers run: starts them, watches over them, and ends them in order.

use crate::{
    actor::{Plane, Recipe, Replica},
    flush,
    shutdown::{Missed, ShutdownError, Step},
    status::{Report, Status, WorkerState},
    worker::Worker,
};
use futures_util::{
    FutureExt,
    future::{join_all, pending, select, select_all},
};
use std::{
    fmt,
    future::Future,
    pin::pin,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};
use throughline_core::Error;
use throughline_trace::{Telemetry, WorkerFigures};
use tokio::runtime::{Handle, RuntimeFlavor};

/// Runs workers until a signal, then drains them.
///
/// Works under `#[tokio::main]` of either flavour and under `#[actix::main]`. Handlers run on the multi-thread runtime
/// that it was made on, else on one of its own; the worker actors on a thread of their own.
///
/// ```
/// use throughline::{Message, Publisher, Runtime, Telemetry, Worker, handler, memory::Memory};
///
/// # #[tokio::main] async fn main() -> Result<(), throughline::BoxError> {
/// let broker = Memory::new();
/// broker.create_topic("greetings", 1)?;
/// let (told, hear) = tokio::sync::oneshot::channel::<()>();
/// let told = std::sync::Mutex::new(Some(told));
/// let told = std::sync::Arc::new(told);
///
/// let mut runtime = Runtime::new(Telemetry::off())?;
/// runtime.spawn(Worker::new("greet", broker.subscribe("greetings").group("g"), move || {
///     let told = told.clone();
///     handler(move |message: Message| {
///         let told = told.clone();
///         async move {
///             println!("{:?}", message.payload());
///             told.lock().unwrap().take().map(|told| told.send(()));
///         }
///     })
/// }));
/// Publisher::new(broker.topic("greetings")).send(Message::new("hello")).await?;
/// runtime.until(hear).await?; // in a program: `runtime.until(shutdown_signal())`
/// # Ok(()) }
/// ```
#[must_use = "dropping a runtime cancels its workers"]
pub struct Runtime {
    telemetry: Telemetry,
    plane: Plane,
    data: Handle,
    own: Option<tokio::runtime::Runtime>,
    workers: Vec<WorkerHandle>,
    grace: Duration,
}

/// The way to a worker that runs. Stays valid however often the worker is restarted, and after it ended.
#[derive(Clone, Debug)]
pub struct WorkerHandle {
    name: Arc<str>,
    replicas: Vec<Replica>,
}

impl Runtime {
    /// A runtime whose workers trace with this telemetry.
    ///
    /// # Errors
    /// The system gave no thread.
    pub fn new(telemetry: Telemetry) -> Result<Self, Error> {
        let here = Handle::try_current().ok().filter(|h| h.runtime_flavor() == RuntimeFlavor::MultiThread);
        let (data, own) = match here {
            Some(here) => (here, None),
            None => {
                let own =
                    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| {
                        let what = "the data runtime could not be started";
                        Error::new(throughline_core::ErrorKind::Config, "runtime", what).with_source(error)
                    })?;
                (own.handle().clone(), Some(own))
            }
        };
        let plane = Plane::start()?;
        Ok(Runtime { telemetry, plane, data, own, workers: Vec::new(), grace: Duration::from_secs(30) })
    }

    /// How long everything may take from the signal to the end; 30 s if not said.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Starts a worker.
    pub fn spawn(&mut self, worker: Worker) -> WorkerHandle {
        let mut tracing = self.telemetry.tracing_layer();
        if let Some(relation) = worker.relation {
            tracing = tracing.relation(relation);
        }
        let (name, replicas, restart) = (worker.name.clone(), worker.replicas, worker.restarts);
        let letters = worker.has_dead_letters();
        let live = worker.into_live();
        let recipe = || Recipe {
            name: name.clone(),
            live: live.clone(),
            restart,
            tracing: tracing.clone(),
            telemetry: self.telemetry.clone(),
            data: self.data.clone(),
        };
        let replicas: Vec<_> = (0..replicas).map(|_| self.plane.adopt(recipe())).collect();
        let controls: Vec<_> = replicas.iter().map(|replica| Arc::downgrade(&replica.control)).collect();
        self.telemetry.watch(name.clone(), move || {
            let known = controls.iter().filter_map(Weak::upgrade).map(|control| control.figures(letters));
            known.reduce(WorkerFigures::plus)
        });
        let handle = WorkerHandle { name: name.into(), replicas };
        self.workers.push(handle.clone());
        handle
    }

    /// Runs until `signal` resolves, or until every worker (of one or more) has ended by itself, then drains: no more
    /// demand; what waits is given back; what runs finishes, up to two seconds before the end of the grace; publishers,
    /// then settlements, then spans are flushed.
    ///
    /// # Cancel safety
    /// Dropping it cancels the workers: what runs is given back, and nothing is flushed.
    ///
    /// # Errors
    /// Names the first step that was not done in its time, or the worker that had given up.
    pub async fn until<F: Future>(mut self, signal: F) -> Result<(), ShutdownError> {
        {
            let all_ended = async {
                // Without any, there is none that could end by itself.
                if self.workers.is_empty() {
                    pending::<()>().await;
                }
                join_all(self.workers.iter().map(WorkerHandle::ended)).await;
            };
            select(pin!(signal.map(drop)), pin!(all_ended)).await;
        }
        let since = Instant::now();
        let deadline = since + self.grace;
        for worker in &self.workers {
            worker.drain(deadline);
        }
        let mut first: Option<ShutdownError> = None;
        for worker in &self.workers {
            worker.ended().await;
            let missed =
                worker.missed().map(|missed| ShutdownError::new(Some(worker.name.to_string()), missed));
            if let Some(missed) = missed
                && first.as_ref().is_none_or(|first| missed.step() < first.step())
            {
                first = Some(missed);
            }
        }
        // What was sent by anybody but a worker, or after its own flush.
        let flushed = self.data.spawn(flush::flush_all_until(deadline, since)).await;
        let flushed = flushed.unwrap_or_else(|error| Err(Missed::new(Step::Publishers, error)));
        let unflushed = flushed.err().map(|missed| ShutdownError::new(None, missed));
        let ended = self.end(deadline).await;
        first.or(unflushed).or(ended).map_or(Ok(()), Err)
    }

    /// The steps after the workers. Joining and exporting block: they have a thread of their own.
    async fn end(&mut self, deadline: Instant) -> Option<ShutdownError> {
        let (thread, own, telemetry) = (self.plane.stop(), self.own.take(), self.telemetry.clone());
        let (tell, told) = tokio::sync::oneshot::channel();
        let spawned = std::thread::Builder::new().name("throughline-end".into()).spawn(move || {
            let joined = thread.is_none_or(|thread| thread.join().is_ok());
            if let Some(own) = own {
                own.shutdown_timeout(deadline.saturating_duration_since(Instant::now()));
            }
            // At least a moment, also when the steps before took it all.
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(500));
            let flushed = telemetry.flush(left);
            let _ = tell.send((joined, flushed));
        });
        let missed = match (spawned, told.await) {
            (Err(error), _) => Missed::new(Step::Actors, error),
            (Ok(_), Err(_)) | (Ok(_), Ok((false, _))) => Missed::new(Step::Actors, "a thread panicked"),
            (Ok(_), Ok((true, Err(error)))) => Missed::new(Step::Telemetry, error),
            (Ok(_), Ok((true, Ok(())))) => return None,
        };
        Some(ShutdownError::new(None, missed))
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        for replica in self.workers.iter().flat_map(|worker| &worker.replicas) {
            replica.control.cancel();
        }
        self.plane.stop();
        if let Some(own) = self.own.take() {
            own.shutdown_background();
        }
    }
}

impl WorkerHandle {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is doing now.
    pub fn status(&self) -> Status {
        let statuses = self.replicas.iter().map(Replica::status);
        statuses.reduce(Status::merge).unwrap_or_else(|| Status::of(Report::default()))
    }

    /// Hands nothing over until [`resume`](Self::resume): what runs finishes, what waits stays, membership and leases
    /// are kept. Also holds over a restart.
    pub fn pause(&self) {
        self.replicas.iter().for_each(|replica| replica.pause(true));
    }

    /// Lets messages flow again.
    pub fn resume(&self) {
        self.replicas.iter().for_each(|replica| replica.pause(false));
    }

    /// Ends this worker alone, in at most this long; [`ended`](Self::ended) tells when it is done.
    pub fn stop(&self, grace: Duration) {
        self.drain(Instant::now() + grace);
    }

    /// Waits until the state of some replica is one that `is` says yes to.
    ///
    /// # Cancel safety
    /// Dropping it forgets the wait.
    pub async fn reached(&self, is: impl Fn(WorkerState) -> bool) -> Status {
        let waits = self.replicas.iter().map(|replica| {
            let (mut report, is) = (replica.report.clone(), &is);
            Box::pin(async move { report.wait_for(|report| is(report.state)).await.is_ok() })
        });
        select_all(waits).await;
        self.status()
    }

    /// Waits until the status is one that `is` says yes to, and gives it: until so many messages are done, say. If the
    /// worker ends before, that resolves it too, with a status to which `is` says no.
    ///
    /// It is looked at after each turn of the worker's loop in which something was handled, and after each change of its
    /// state: what is only so for a moment may be missed.
    ///
    /// ```
    /// use throughline::{Message, Publisher, Runtime, Telemetry, Worker, handler, memory::Memory};
    ///
    /// # #[tokio::main] async fn main() -> Result<(), throughline::BoxError> {
    /// let broker = Memory::new().auto_create(4);
    /// let mut runtime = Runtime::new(Telemetry::off())?;
    /// let worker = runtime.spawn(Worker::new("greet", broker.subscribe("names").group("g"), || {
    ///     handler(|name: Message| async move { println!("hello, {:?}", name.payload()) })
    /// }));
    /// Publisher::new(broker.topic("names")).send_all(["Ada", "Grace"].map(Message::new)).await;
    /// runtime.until(worker.wait_for(|status| status.counts.acked == 2)).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Cancel safety
    /// Dropping it forgets the wait.
    pub async fn wait_for(&self, is: impl Fn(&Status) -> bool) -> Status {
        loop {
            // Before the look, so that no change falls in between.
            let changes = self.replicas.iter().map(|replica| Box::pin(replica.changed()));
            let changed = select_all(changes);
            let status = self.status();
            if is(&status) || self.replicas.iter().all(Replica::is_over) {
                return status;
            }
            changed.await;
        }
    }

    /// Waits until every replica has ended or given up.
    pub async fn ended(&self) -> Status {
        for replica in &self.replicas {
            // An error is a sender that is gone: over, too.
            let _ = replica.report.clone().wait_for(|report| report.state.is_over()).await;
        }
        self.status()
    }

    fn drain(&self, deadline: Instant) {
        self.replicas.iter().for_each(|replica| replica.drain(deadline));
    }

    fn missed(&self) -> Option<Missed> {
        let reports = self.replicas.iter().map(|replica| replica.report.borrow().clone());
        let missed = reports.filter_map(|report| match (report.missed, report.state) {
            (Some(missed), _) => Some(Missed::new(missed.step, missed.to_string())),
            (None, WorkerState::Failed) => {
                Some(Missed::new(Step::Workers, report.error.unwrap_or_else(|| "its actor died".into())))
            }
            _ => None,
        });
        missed.min_by_key(|missed| missed.step)
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("workers", &self.workers).field("grace", &self.grace).finish()
    }
}
