//! A worker process on a queue, to be killed and stopped: handles what it is given, writes each message into a ledger, and
//! exports its spans to a file. A message that says `bad` before its number fails, always. Until SIGTERM; the exit status
//! says whether the drain was clean, and the output is what it logged.

#![allow(clippy::print_stderr, reason = "a command-line program")]

use opentelemetry_sdk::trace::SimpleSpanProcessor;
use std::{process::ExitCode, time::Duration};
use throughline::{
    BoxError, Message, Runtime, State, Telemetry, Worker, handler_with, shutdown_signal, sqs::Sqs,
};
use throughline_test::{Entry, Ev, FileExporter, Ledger};

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sqs_worker: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), BoxError> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [endpoint, queue, ledger, more @ ..] = &words[..] else {
        return Err("usage: sqs_worker ENDPOINT QUEUE LEDGER [IN_FLIGHT] [SPANS]".into());
    };
    let (in_flight, spans) = match more.first().and_then(|word| word.parse().ok()) {
        Some(in_flight) => (in_flight, more.get(1)),
        None => (IN_FLIGHT, more.first()),
    };
    tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).with_ansi(false).init();
    let telemetry = match spans {
        None => Telemetry::off(),
        Some(path) => {
            let exporter = FileExporter::append(path)?;
            // One write a span: what had ended is in the file when the process is killed.
            Telemetry::builder("sqs_worker").processor(SimpleSpanProcessor::new(exporter)).build()?
        }
    };
    // What a killed worker held comes again after this time: short, so that a test of many kills ends.
    let subscription =
        Sqs::local(endpoint).subscribe(queue).wait(Duration::from_secs(1)).visibility(Duration::from_secs(3));
    let ledger = Ledger::join(ledger)?;
    let stack = move || handler_with(ledger.clone(), handle);
    let mut runtime = Runtime::new(telemetry)?;
    runtime.spawn(Worker::new("worker", subscription, stack).in_flight(in_flight));
    Ok(runtime.until(shutdown_signal()).await?)
}

const IN_FLIGHT: usize = 64;

async fn handle(message: Message, State(ledger): State<Ledger>) -> Result<(), BoxError> {
    let text = std::str::from_utf8(message.payload())?;
    let bad = text.strip_prefix("bad ");
    let id = bad.unwrap_or(text).parse()?;
    ledger.record(Entry::new(Ev::Started, id))?;
    tokio::time::sleep(Duration::from_millis(fastrand::u64(..3))).await; // the work
    if bad.is_some() {
        ledger.record(Entry::new(Ev::Failed, id))?;
        return Err("always".into());
    }
    ledger.record(Entry::new(Ev::Finished, id))?;
    Ok(())
}
