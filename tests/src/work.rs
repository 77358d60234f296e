//! What the worker processes of brokers without a log do: handle what comes, write each message into a ledger, and export
//! their spans to a file. A message that says `bad` before its number fails, always. Until SIGTERM; the exit status says
//! whether the drain was clean, and the output is what was logged.

use opentelemetry_sdk::trace::SimpleSpanProcessor;
use std::{process::ExitCode, time::Duration};
use throughline::{
    BoxError, Message, Runtime, State, Subscription, Telemetry, Worker, handler_with, shutdown_signal,
};
use throughline_test::{Entry, Ev, FileExporter, Ledger};

const IN_FLIGHT: usize = 64;

/// The program, with the arguments `SERVER SOURCE LEDGER [IN_FLIGHT] [SPANS]`; `subscribe` is given the first two.
#[allow(clippy::print_stderr, reason = "a command-line program")]
pub async fn work<S: Subscription>(program: &str, subscribe: impl FnOnce(&str, &str) -> S) -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let ended = match &words[..] {
        [server, source, ledger, more @ ..] => run(program, subscribe(server, source), ledger, more).await,
        _ => Err("usage: SERVER SOURCE LEDGER [IN_FLIGHT] [SPANS]".into()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{program}: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run<S: Subscription>(
    program: &str,
    subscription: S,
    ledger: &str,
    more: &[String],
) -> Result<(), BoxError> {
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
            Telemetry::builder(program).processor(SimpleSpanProcessor::new(exporter)).build()?
        }
    };
    let ledger = Ledger::join(ledger)?;
    let stack = move || handler_with(ledger.clone(), handle);
    let mut runtime = Runtime::new(telemetry)?;
    runtime.spawn(Worker::new("worker", subscription, stack).in_flight(in_flight));
    Ok(runtime.until(shutdown_signal()).await?)
}

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
