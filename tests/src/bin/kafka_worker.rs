//! A worker process to be killed, stopped, flooded or cut off: handles what it is given, writes each message into a
//! ledger, and exports its spans to a file. Until SIGTERM; the exit status says whether the drain was clean.

#![allow(clippy::print_stderr, clippy::print_stdout, reason = "a command-line program")]

use clap::Parser;
use opentelemetry_sdk::trace::SimpleSpanProcessor;
use std::{
    fs::File,
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use throughline::{
    Batch, BatchPolicy, BoxError, Message, Publisher, Redelay, Runtime, State, Telemetry, Worker,
    batch_handler_with, handler_with,
    kafka::{Assignment, Kafka, Transaction, TransactionLayer},
    shutdown_signal,
};
use throughline_test::{Entry, Ev, FileExporter, Ledger};
use tokio::time::Instant;
use tower::Layer;

/// What to work on, and how.
#[derive(Debug, Parser)]
struct Args {
    #[arg(long)]
    servers: String,
    #[arg(long)]
    topic: String,
    #[arg(long)]
    group: String,
    /// The folder of the run that it takes part in.
    #[arg(long)]
    ledger: PathBuf,
    /// A file to append spans to.
    #[arg(long)]
    spans: Option<PathBuf>,
    /// A file for its warnings and errors.
    #[arg(long)]
    log: Option<PathBuf>,
    #[arg(long, default_value_t = 64)]
    in_flight: usize,
    /// The longest that a handler takes; each takes a random part of it.
    #[arg(long, default_value_t = 0)]
    handler_ms: u64,
    /// No handler ends sooner than this after the first began.
    #[arg(long, default_value_t = 0)]
    hold_ms: u64,
    /// How many of a hundred first deliveries fail.
    #[arg(long, default_value_t = 0)]
    fail_percent: u8,
    #[arg(long, default_value_t = 200)]
    commit_interval_ms: u64,
    #[arg(long, default_value_t = 30_000)]
    grace_ms: u64,
    /// A rebalance stops everything (else only what moves).
    #[arg(long)]
    eager: bool,
    /// Properties of the client, as `name=value`.
    #[arg(long = "set")]
    properties: Vec<String>,
    /// Consumes exactly once, in batches: sends each id to this topic.
    #[arg(long)]
    exactly_once: Option<String>,
    /// Has a task beside the worker wake up every 100 ms, and prints by how many milliseconds it was late at worst.
    #[arg(long)]
    ticker: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kafka_worker: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<(), BoxError> {
    let telemetry = match &args.spans {
        None => Telemetry::off(),
        Some(path) => {
            let exporter = FileExporter::append(path)?;
            // One write a span: what had ended is in the file when the process is killed.
            Telemetry::builder("kafka_worker").processor(SimpleSpanProcessor::new(exporter)).build()?
        }
    };
    if let Some(path) = &args.log {
        let log = std::sync::Mutex::new(File::create(path)?);
        let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).with_writer(log);
        subscriber.with_ansi(false).init();
    }
    let mut kafka = Kafka::new(&args.servers);
    // With the newer protocol both are the broker's.
    if !args.properties.iter().any(|property| property == "group.protocol=consumer") {
        // A killed member is noticed after its session: short, so that a test of many kills ends.
        kafka = kafka.set("session.timeout.ms", "2000").set("heartbeat.interval.ms", "300");
    }
    for property in &args.properties {
        let (name, value) = property.split_once('=').ok_or("a property is name=value")?;
        kafka = kafka.set(name, value);
    }
    let subscription = kafka
        .group(&args.group)
        .topic(&args.topic)
        .assignment(if args.eager { Assignment::Eager } else { Assignment::Cooperative })
        .commit_interval(Duration::from_millis(args.commit_interval_ms));
    let job = Arc::new(Job {
        ledger: Ledger::join(&args.ledger)?,
        longest: Duration::from_millis(args.handler_ms),
        hold: Duration::from_millis(args.hold_ms),
        held_until: OnceLock::new(),
        fail_percent: args.fail_percent,
    });
    let mut runtime = Runtime::new(telemetry)?.grace(Duration::from_millis(args.grace_ms));
    let redelay = Redelay::exponential(Duration::from_millis(2), Duration::from_millis(20));
    let worker = match &args.exactly_once {
        None => Worker::new("worker", subscription, move || handler_with(job.clone(), handle)),
        Some(to) => {
            let publisher = Publisher::new(kafka.topic(to).in_transactions());
            let stack =
                move || TransactionLayer.layer(batch_handler_with((job.clone(), publisher.clone()), move_on));
            let policy = BatchPolicy::at_most(100).within(Duration::from_millis(5));
            Worker::batches("worker", subscription.exactly_once("kafka-worker"), policy, stack)
                .ordering(throughline::Ordering::Partition)
        }
    };
    runtime.spawn(worker.in_flight(args.in_flight).redelay(redelay));
    let late = Arc::<AtomicU64>::default();
    if args.ticker {
        tokio::task::spawn(tick(late.clone()));
    }
    let drained = runtime.until(shutdown_signal()).await;
    if args.ticker {
        println!("{}", late.load(Ordering::SeqCst));
    }
    Ok(drained?)
}

async fn tick(late: Arc<AtomicU64>) {
    const TICK: Duration = Duration::from_millis(100);
    loop {
        let since = Instant::now();
        tokio::time::sleep(TICK).await;
        let millis = since.elapsed().saturating_sub(TICK).as_millis();
        late.fetch_max(millis as u64, Ordering::SeqCst);
    }
}

struct Job {
    ledger: Ledger,
    longest: Duration,
    hold: Duration,
    held_until: OnceLock<Instant>,
    fail_percent: u8,
}

async fn move_on(
    batch: Batch,
    transaction: Transaction,
    State((job, to)): State<(Arc<Job>, Publisher)>,
) -> Result<(), BoxError> {
    let sent = to.send_all(batch.iter().map(|message| transaction.of(message.clone()))).await;
    sent.into_iter().collect::<Result<Vec<_>, _>>()?;
    for message in &batch {
        handle(message.clone(), State(job.clone())).await?;
    }
    Ok(())
}

async fn handle(message: Message, State(job): State<Arc<Job>>) -> Result<(), BoxError> {
    let digits = message.payload().iter().take_while(|byte| byte.is_ascii_digit()).count();
    let id = std::str::from_utf8(&message.payload()[..digits])?.parse()?;
    let origin = message.origin().ok_or("it came from nowhere")?;
    let mut started = Entry::new(Ev::Started, id)
        .at(origin.partition.ok_or("it has no partition")?, origin.offset.ok_or("it has no offset")?);
    if let Some(key) = message.key() {
        started = started.key(std::str::from_utf8(key)?);
    }
    job.ledger.record(started)?;
    // Lets others run in between, as any handler that does something would.
    match job.longest {
        Duration::ZERO => tokio::task::yield_now().await,
        longest => tokio::time::sleep(longest.mul_f64(fastrand::f64())).await,
    }
    if !job.hold.is_zero() {
        tokio::time::sleep_until(*job.held_until.get_or_init(|| Instant::now() + job.hold)).await;
    }
    let failed = origin.delivery_count == 1 && fastrand::u8(..100) < job.fail_percent;
    job.ledger.record(Entry::new(if failed { Ev::Failed } else { Ev::Finished }, id))?;
    if failed { Err("again".into()) } else { Ok(()) }
}
