//! Worker processes that share what comes.

use crate::{Run, WorkerProcess};
use std::{future::Future, path::Path};
use throughline::Telemetry;

/// Worker processes at one queue or topic, as a test sees them that kills or stops some of them.
pub trait Workforce: Sync {
    /// What all of them write.
    fn run(&self) -> &Run;

    /// Starts one more, which appends its spans to this file.
    fn start(&self, spans: Option<&Path>) -> WorkerProcess;

    /// Publishes this many messages, numbered from 0, and writes down what was acknowledged.
    fn publish(&self, telemetry: &Telemetry, messages: u64) -> impl Future<Output = ()> + Send;

    /// Until this many are done as the broker sees it, of those that were published.
    fn wait_until_done(&self, messages: u64) -> impl Future<Output = ()> + Send;
}
