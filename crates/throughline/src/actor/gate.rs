//! The worker actor: its mailbox is the gate that deliveries pass, and its lifecycle messages order with them.
//!
//! It supervises one incarnation after the other. Handlers never run here: an actor's thread is one, and a panic
//! would kill it.

use crate::{
    control::Control,
    incarnation::{Exit, Surroundings},
    middleware::{Panicked, doubled},
    pump::{Gate, Parcel},
    shutdown::{Missed, Step},
    status::{Report, WorkerState},
    worker::{Live, Restarts},
};
use actix::prelude::*;
use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};
use throughline_core::{BoxError, Error, ErrorKind};
use throughline_trace::{Telemetry, TracingLayer};
use tokio::{runtime::Handle, sync::watch, task::AbortHandle};

/// How often the actor looks whether its loop is stuck.
const TICK: Duration = Duration::from_secs(1);

/// For how long a loop may be inside one poll before it counts as frozen.
const FROZEN: Duration = Duration::from_secs(5);

/// A batch of deliveries on its way to the loop.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Deliver(Box<dyn Parcel>);

/// Begin, for the first time or after a failure.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Start;

/// The source is connected.
#[derive(Message)]
#[rtype(result = "()")]
struct Connected;

/// The incarnation is over.
#[derive(Message)]
#[rtype(result = "()")]
struct Exited(Exit);

/// Pause, or resume.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Pause(pub(super) bool);

/// End within this time.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Drain(pub(super) Instant);

/// One replica of a worker.
pub(super) struct WorkerActor {
    pub(super) name: String,
    pub(super) live: Live,
    pub(super) restart: Restarts,
    pub(super) control: Arc<Control>,
    pub(super) tracing: TracingLayer,
    pub(super) telemetry: Telemetry,
    pub(super) data: Handle,
    pub(super) report: watch::Sender<Report>,
    pub(super) restarts: u32,
    pub(super) started: Instant,
    pub(super) incarnation: Option<AbortHandle>,
}

impl WorkerActor {
    fn state(&self) -> WorkerState {
        self.report.borrow().state
    }

    fn set(&self, state: WorkerState) {
        self.report.send_modify(|report| {
            report.state = state;
            report.restarts = self.restarts;
        });
    }

    fn set_flowing(&self) {
        self.set(if self.control.is_paused() { WorkerState::Paused } else { WorkerState::Running });
    }

    fn draining(&self) -> bool {
        self.control.deadline().is_some()
    }

    fn end(&mut self, state: WorkerState, missed: Option<Missed>, context: &mut Context<Self>) {
        if let Some(missed) = missed {
            let step = missed.step;
            tracing::warn!(worker = %self.name, ?step, "the worker did not end cleanly");
            self.report.send_modify(|report| report.missed = Some(Arc::new(missed)));
        }
        self.set(state);
        context.stop();
    }

    fn failed(&mut self, error: BoxError, context: &mut Context<Self>) {
        if self.started.elapsed() >= self.restart.quiet {
            self.restarts = 0;
        }
        self.report.send_modify(|report| report.error = Some(error.to_string()));
        // Nobody but a person can change a setting; and who takes back an identity is fenced again by who took it.
        let hopeless = |error: &Error| matches!(error.kind(), ErrorKind::Config | ErrorKind::Fenced);
        let hopeless = error.downcast_ref::<Error>().is_some_and(hopeless);
        if hopeless || self.restarts >= self.restart.at_most {
            tracing::error!(worker = %self.name, restarts = self.restarts, %error, "the worker gave up");
            return self.end(WorkerState::Failed, None, context);
        }
        let wait = doubled(self.restart.first, self.restart.longest, self.restarts);
        self.restarts += 1;
        self.control.counts.restarted.fetch_add(1, Relaxed);
        tracing::warn!(worker = %self.name, ?wait, %error, "the worker failed and will start again");
        self.set(WorkerState::BackingOff);
        context.notify_later(Start, wait);
    }
}

impl Actor for WorkerActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        context.run_interval(TICK, |actor, _| {
            let frozen = actor.control.busy_for() >= FROZEN;
            if frozen != actor.report.borrow().frozen {
                actor.report.send_modify(|report| report.frozen = frozen);
                actor.control.hold_demand(frozen);
                if frozen {
                    tracing::error!(worker = %actor.name, "a handler blocks the loop; it must not block its thread");
                }
            }
        });
    }
}

impl Handler<Deliver> for WorkerActor {
    type Result = ();

    fn handle(&mut self, Deliver(parcel): Deliver, _: &mut Context<Self>) {
        // Dropped while draining: its deliveries are given back.
        if !self.control.is_draining() {
            parcel.hand_over();
        }
    }
}

impl Handler<Start> for WorkerActor {
    type Result = ();

    #[allow(
        clippy::disallowed_methods,
        reason = "the watcher runs on the data runtime and carries no message"
    )]
    fn handle(&mut self, _: Start, context: &mut Context<Self>) {
        if self.draining() || self.incarnation.is_some() {
            return;
        }
        self.control.again();
        self.started = Instant::now();
        let (gate, connected) = (context.address(), context.address());
        let around = Surroundings {
            control: self.control.clone(),
            gate: Arc::new(Mailbox(gate)),
            tracing: self.tracing.clone(),
            telemetry: self.telemetry.clone(),
            data: self.data.clone(),
            connected: Box::new(move || connected.do_send(Connected)),
        };
        let live = self.live.clone();
        // The factory of the future may panic as well as the future.
        let life = self.data.spawn(async move { live(around).await });
        self.incarnation = Some(life.abort_handle());
        let actor = context.address().downgrade();
        self.data.spawn(async move {
            let exit = match life.await {
                Ok(exit) => exit,
                Err(error) if error.is_panic() => Exit::Failed(Panicked::new(error.into_panic()).into()),
                Err(_) => Exit::Ended(Some(Missed::new(Step::Handlers, "the worker was aborted"))),
            };
            if let Some(actor) = actor.upgrade() {
                actor.do_send(Exited(exit));
            }
        });
    }
}

impl Handler<Connected> for WorkerActor {
    type Result = ();

    fn handle(&mut self, _: Connected, _: &mut Context<Self>) {
        if !self.draining() {
            self.set_flowing();
        }
    }
}

impl Handler<Exited> for WorkerActor {
    type Result = ();

    fn handle(&mut self, Exited(exit): Exited, context: &mut Context<Self>) {
        self.incarnation = None;
        self.control.end();
        match exit {
            Exit::Ended(missed) => {
                self.end(WorkerState::Stopped { clean: missed.is_none() }, missed, context);
            }
            Exit::Failed(error) if self.draining() => {
                let missed = Missed::new(Step::Handlers, error);
                self.end(WorkerState::Stopped { clean: false }, Some(missed), context);
            }
            Exit::Failed(error) => self.failed(error, context),
        }
    }
}

impl Handler<Pause> for WorkerActor {
    type Result = ();

    fn handle(&mut self, Pause(paused): Pause, _: &mut Context<Self>) {
        self.control.pause(paused);
        if matches!(self.state(), WorkerState::Running | WorkerState::Paused) {
            self.set_flowing();
        }
    }
}

impl Handler<Drain> for WorkerActor {
    type Result = ();

    fn handle(&mut self, Drain(deadline): Drain, context: &mut Context<Self>) {
        self.control.drain_until(deadline);
        if self.incarnation.is_none() {
            // It waits for a restart, and holds nothing.
            return self.end(WorkerState::Stopped { clean: true }, None, context);
        }
        self.set(WorkerState::Draining);
        let left = deadline.saturating_duration_since(Instant::now());
        context.run_later(left, |actor, context| {
            // The incarnation has its own deadlines; one that missed them all is cut off.
            if let Some(incarnation) = actor.incarnation.take() {
                incarnation.abort();
            }
            let missed = Missed::new(Step::Handlers, "the worker did not end in its grace");
            actor.end(WorkerState::Stopped { clean: false }, Some(missed), context);
        });
    }
}

impl Drop for WorkerActor {
    fn drop(&mut self) {
        // However the actor ends, nothing runs on without it, and the handle tells.
        let ended = self.state().is_over();
        self.control.cancel();
        if !ended {
            self.set(WorkerState::Failed);
        }
    }
}

/// The gate as the pump sees it.
struct Mailbox(Addr<WorkerActor>);

impl Gate for Mailbox {
    #[allow(clippy::disallowed_methods, reason = "this is the gate: room was taken before the pull")]
    fn deliver(&self, parcel: Box<dyn Parcel>) {
        // With a dead actor the envelope is dropped, and its deliveries are given back.
        self.0.do_send(Deliver(parcel));
    }
}
