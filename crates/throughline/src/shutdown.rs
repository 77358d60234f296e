//! The steps of a drain, and which one was not done in time.

use std::{
    fmt,
    time::{Duration, Instant},
};
use throughline_core::BoxError;

/// What is kept of the grace for everything that follows the handlers.
const FOR_THE_REST: Duration = Duration::from_secs(2);

/// The steps of a drain, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Step {
    /// A worker had given up before.
    Workers,
    /// Running handlers finish; leases are kept meanwhile.
    Handlers,
    /// Open sends are confirmed.
    Publishers,
    /// Settlements are confirmed by the broker and the source is closed.
    Settlements,
    /// The worker actors stop.
    Actors,
    /// Spans are exported.
    Telemetry,
}

/// A drain that did not do everything in its grace. Nothing is lost by it: what was not settled is delivered again.
#[derive(Debug)]
pub struct ShutdownError {
    worker: Option<String>,
    missed: Missed,
}

/// A step that was not done, and why.
#[derive(Debug)]
pub(crate) struct Missed {
    pub(crate) step: Step,
    why: BoxError,
}

/// Resolves at SIGTERM or ctrl-c, whichever comes first; only at ctrl-c where there is no SIGTERM.
///
/// # Errors
/// None: where a signal cannot be listened to, a warning is logged and the other one counts.
pub async fn shutdown_signal() {
    let ctrl_c = async {
        if let Err(error) = tokio::signal::ctrl_c().await {
            tracing::warn!(%error, "cannot listen to ctrl-c");
            std::future::pending::<()>().await;
        }
    };
    futures_util::future::select(Box::pin(ctrl_c), Box::pin(terminate())).await;
}

#[cfg(unix)]
async fn terminate() {
    match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(mut signal) => {
            signal.recv().await;
        }
        Err(error) => {
            tracing::warn!(%error, "cannot listen to SIGTERM");
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(not(unix))]
fn terminate() -> impl std::future::Future<Output = ()> {
    std::future::pending()
}

/// When handlers are cut off, so that the other steps have time too: two seconds before, or halfway if there is less.
pub(crate) fn before_deadline(deadline: Instant) -> Instant {
    let left = deadline.saturating_duration_since(Instant::now());
    let keep = FOR_THE_REST.min(left / 2);
    deadline.checked_sub(keep).unwrap_or(deadline)
}

impl Missed {
    pub(crate) fn new(step: Step, why: impl Into<BoxError>) -> Self {
        Missed { step, why: why.into() }
    }
}

impl fmt::Display for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.why.fmt(f)
    }
}

impl ShutdownError {
    pub(crate) fn new(worker: Option<String>, missed: Missed) -> Self {
        ShutdownError { worker, missed }
    }

    /// The first step that was not done.
    pub fn step(&self) -> Step {
        self.missed.step
    }

    /// The worker that it concerns, if it concerns one.
    pub fn worker(&self) -> Option<&str> {
        self.worker.as_deref()
    }
}

impl fmt::Display for ShutdownError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = match self.missed.step {
            Step::Workers => "it had given up",
            Step::Handlers => "handlers did not finish",
            Step::Publishers => "publishers were not flushed",
            Step::Settlements => "settlements were not confirmed",
            Step::Actors => "actors did not stop",
            Step::Telemetry => "spans were not exported",
        };
        if let Some(worker) = &self.worker {
            write!(f, "worker `{worker}`: ")?;
        }
        write!(f, "{step}: {}", self.missed.why)
    }
}

impl std::error::Error for ShutdownError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.missed.why.source()
    }
}
