//! The control plane: an actix system on a thread of its own, and a root actor above the worker actors.

#![allow(
    clippy::disallowed_methods,
    reason = "lifecycle messages, a few a second, which no mailbox bound must lose"
)]

use super::gate::{Drain, Pause, Start, WorkerActor};
use crate::{
    control::Control,
    status::{Report, Status},
    worker::{Live, Restarts},
};
use actix::prelude::*;
use futures_util::future::select;
use std::{
    fmt,
    pin::pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    thread::JoinHandle,
    time::Instant,
};
use throughline_core::{Error, ErrorKind};
use throughline_trace::{Telemetry, TracingLayer};
use tokio::{runtime::Handle, sync::watch};

/// The actors of one runtime.
pub(crate) struct Plane {
    root: Addr<Root>,
    system: System,
    thread: Option<JoinHandle<()>>,
}

/// The way to one worker actor.
#[derive(Clone)]
pub(crate) struct Replica {
    address: Addr<WorkerActor>,
    pub(crate) control: Arc<Control>,
    pub(crate) report: watch::Receiver<Report>,
}

/// Everything a worker actor is made of.
pub(crate) struct Recipe {
    pub(crate) name: String,
    pub(crate) live: Live,
    pub(crate) restart: Restarts,
    pub(crate) tracing: TracingLayer,
    pub(crate) telemetry: Telemetry,
    pub(crate) data: Handle,
}

/// Starts worker actors on its own thread and keeps them alive.
struct Root {
    workers: Vec<Addr<WorkerActor>>,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Adopt(Addr<WorkerActor>);

impl Plane {
    /// Starts the thread and waits for the system to be there.
    pub(crate) fn start() -> Result<Self, Error> {
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new().name("throughline-control".into()).spawn(move || {
            let runner = System::new();
            runner.block_on(async {
                let root = Root { workers: Vec::new() }.start();
                let _ = tell.send((root, System::current()));
            });
            // An error is the exit code that nobody sets.
            let _ = runner.run();
        });
        let failed = |what: &str| Error::new(ErrorKind::Config, "control thread", what);
        let thread = thread.map_err(|error| failed("it could not be started").with_source(error))?;
        let (root, system) =
            told.recv().map_err(|error| failed("its system did not start").with_source(error))?;
        Ok(Plane { root, system, thread: Some(thread) })
    }

    /// Starts one worker actor.
    pub(crate) fn adopt(&self, recipe: Recipe) -> Replica {
        let control = Arc::new(Control::new());
        let (tell, report) = watch::channel(Report::default());
        let actor = WorkerActor {
            name: recipe.name,
            live: recipe.live,
            restart: recipe.restart,
            control: control.clone(),
            tracing: recipe.tracing,
            telemetry: recipe.telemetry,
            data: recipe.data,
            report: tell,
            restarts: 0,
            started: Instant::now(),
            incarnation: None,
        };
        let address = WorkerActor::start_in_arbiter(&self.system.arbiter().clone(), move |_| actor);
        address.do_send(Start);
        self.root.do_send(Adopt(address.clone()));
        Replica { address, control, report }
    }

    /// Stops the system; the thread ends soon after.
    pub(crate) fn stop(&mut self) -> Option<JoinHandle<()>> {
        self.system.stop();
        self.thread.take()
    }
}

impl Replica {
    pub(crate) fn pause(&self, paused: bool) {
        self.address.do_send(Pause(paused));
    }

    pub(crate) fn drain(&self, deadline: Instant) {
        self.address.do_send(Drain(deadline));
    }

    /// Resolves when the status may be another than at this call; never once it has ended.
    pub(crate) fn changed(&self) -> impl Future<Output = ()> + Send + use<'_> {
        let (counted, mut report) = (self.control.changed.notified(), self.report.clone());
        report.mark_unchanged();
        let reported = async move {
            if report.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        async move {
            select(pin!(counted), pin!(reported)).await;
        }
    }

    /// Whether it has ended or given up; an actor that died is over, too.
    pub(crate) fn is_over(&self) -> bool {
        self.report.has_changed().is_err() || self.report.borrow().state.is_over()
    }

    pub(crate) fn status(&self) -> Status {
        let control = &self.control;
        let report = Status::of(self.report.borrow().clone());
        let outage = control.heard.outage();
        Status {
            in_flight: control.in_flight.load(Relaxed),
            waiting: control.waiting.load(Relaxed),
            parked: control.parked.load(Relaxed),
            counts: control.counts(),
            blocked: control.blocked(),
            reconnecting: outage.is_some(),
            missing: control.heard.missing(),
            lag: control.heard.lag(),
            error: control.heard.trouble().or(report.error),
            ..report
        }
    }
}

impl Actor for Root {
    type Context = Context<Self>;
}

impl Handler<Adopt> for Root {
    type Result = ();

    fn handle(&mut self, Adopt(worker): Adopt, _: &mut Context<Self>) {
        self.workers.retain(Addr::connected);
        self.workers.push(worker);
    }
}

impl fmt::Debug for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replica").field("control", &self.control).finish()
    }
}
