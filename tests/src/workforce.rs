//! Worker processes that share what comes.

use crate::{Run, WorkerProcess};
use std::{future::Future, path::Path};
use throughline::{Message, Publisher, Telemetry};
use throughline_test::{Entry, Ev};

/// How many messages are published at once.
const CHUNK: u64 = 1_000;

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

/// Publishes this many messages, numbered from 0, and writes down what was acknowledged; after each part `so_far` is told
/// how many that are.
pub async fn publish_numbers(publisher: &Publisher, run: &Run, messages: u64, so_far: impl Fn(u64)) {
    for first in (0..messages).step_by(CHUNK as usize) {
        let ids = first..messages.min(first + CHUNK);
        let receipts = publisher.send_all(ids.clone().map(|id| Message::new(id.to_string()))).await;
        for (id, receipt) in ids.clone().zip(receipts) {
            receipt.unwrap();
            run.record(Entry::new(Ev::Produced, id));
        }
        so_far(ids.end);
    }
}
