//! A worker process to be killed: handles what it is given, writes each message into a ledger, and exports its spans to
//! a file.
//!
//! `kafka_worker SERVERS TOPIC GROUP LEDGER [SPANS]`, until SIGTERM. With HANDLER_MS set, a handler takes up to so many
//! milliseconds.

#![allow(clippy::print_stderr, reason = "a command-line program")]

use opentelemetry_sdk::trace::SimpleSpanProcessor;
use std::{process::ExitCode, time::Duration};
use throughline::{
    BoxError, Message, Runtime, State, Telemetry, Worker, handler_with, kafka::Kafka, shutdown_signal,
};
use throughline_test::{Entry, Ev, FileExporter, Ledger};

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kafka_worker: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), BoxError> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [servers, topic, group, ledger, spans @ ..] = &args[..] else {
        return Err("usage: kafka_worker SERVERS TOPIC GROUP LEDGER [SPANS]".into());
    };
    let telemetry = match spans.first() {
        None => Telemetry::off(),
        Some(path) => {
            let exporter = FileExporter::append(path)?;
            // One write a span: what had ended is in the file when the process is killed.
            Telemetry::builder("kafka_worker").processor(SimpleSpanProcessor::new(exporter)).build()?
        }
    };
    let ledger = Ledger::join(ledger)?;
    // A killed member is noticed after its session: short, so that a test of many kills ends.
    let subscription = Kafka::new(servers.clone())
        .set("session.timeout.ms", "2000")
        .set("heartbeat.interval.ms", "300")
        .group(group.clone())
        .topic(topic.clone())
        .commit_interval(Duration::from_millis(200));
    let longest = std::env::var("HANDLER_MS").ok().and_then(|ms| ms.parse().ok()).unwrap_or(0);
    let stack = move || handler_with((ledger.clone(), longest), handle);
    let mut runtime = Runtime::new(telemetry)?;
    runtime.spawn(Worker::new("worker", subscription, stack).in_flight(64));
    runtime.until(shutdown_signal()).await?;
    Ok(())
}

async fn handle(message: Message, State((ledger, longest)): State<(Ledger, u64)>) -> Result<(), BoxError> {
    let id = std::str::from_utf8(message.payload())?.parse()?;
    // Lets others run in between, as any handler that does something would.
    match longest {
        0 => tokio::task::yield_now().await,
        ms => tokio::time::sleep(Duration::from_millis(fastrand::u64(0..=ms))).await,
    }
    ledger.record(Entry::new(Ev::Finished, id))?;
    Ok(())
}
