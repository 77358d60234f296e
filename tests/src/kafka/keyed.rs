//! A crew that is killed and stopped.

use super::Crew;
use crate::{Run, WorkerProcess, Workforce};
use std::{path::Path, time::Duration};
use throughline::{Message, Telemetry};

/// A crew whose messages have so many keys, and whose workers are started with these options.
#[derive(Debug)]
pub struct Keyed {
    /// Who.
    pub crew: Crew,
    /// How many.
    pub keys: u64,
    /// Of `kafka_worker`.
    pub options: Vec<String>,
}

impl Workforce for Keyed {
    fn run(&self) -> &Run {
        &self.crew.run
    }

    fn start(&self, spans: Option<&Path>) -> WorkerProcess {
        let spans = spans.map(|path| ["--spans", path.to_str().unwrap()]);
        let own = self.options.iter().map(String::as_str);
        let options: Vec<_> = own.chain(spans.into_iter().flatten()).collect();
        self.crew.worker(&options)
    }

    async fn publish(&self, telemetry: &Telemetry, messages: u64) {
        let message = |id: u64| Message::new(id.to_string()).with_key((id % self.keys).to_string());
        self.crew.publish(telemetry, 0..messages, Duration::ZERO, message).await;
    }

    async fn wait_until_done(&self, messages: u64) {
        self.crew.wait_for_commits(messages).await;
    }
}
