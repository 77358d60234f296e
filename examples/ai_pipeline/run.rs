//! A whole run: starts every role, submits the documents, waits until they are done, reads the spans.

use crate::{
    args::{Args, Brokers as Which, Role},
    brokers::{Brokers, Hop},
    children::Children,
    database::{Counts, Database},
    documents, replay,
    report::{Report, Totals},
    roles::{Ground, Running, free_port},
    submit, telemetry,
};
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};
use throughline::{BoxError, Publisher, Telemetry};
use throughline_test::{SpanRecord, SpanRef, read_spans, unfinished_spans};

/// How often it is looked how far the documents are.
const LOOK: Duration = Duration::from_millis(50);

/// How often progress is shown.
const SHOW: Duration = Duration::from_millis(500);

/// After this long without any progress the rest counts as lost.
const PATIENCE: Duration = Duration::from_secs(300);

pub(crate) async fn run(args: &Args) -> Result<Report, BoxError> {
    let documents = documents::read(&args.paths, args.repeat)?;
    let number = documents.len();
    let own = own_name();
    // The embedded broker is as new as the process, so its names need nothing of their own.
    let real = args.brokers == Which::Real;
    let prefix =
        args.prefix.clone().unwrap_or_else(|| if real { own.clone() } else { "pipeline".to_owned() });
    let brokers = Brokers::of(args, &prefix)?;
    brokers.create().await?;
    let url = args.database.clone().unwrap_or_else(|| scratch_database(&own));
    let ground = Ground {
        brokers,
        // Those that run as processes know the run by its prefix.
        database: Database::open(&url, if real { &prefix } else { &own }).await?,
        ingress: args.ingress.map_or_else(free_port, Ok)?,
        embedding: args.embedding.map_or_else(free_port, Ok)?,
    };
    let pipeline = Pipeline::start(args, &prefix, &url, &ground).await?;
    let jobs = Publisher::new(ground.brokers.sink(Hop::Jobs));
    let work = async {
        submit::submit(documents, ground.ingress).await?;
        let mut counts = finished(&ground.database, number).await?;
        let letters = ground.database.letters().await?;
        let mut replayed = 0;
        if args.replay {
            replayed = replay::replay(&ground.database, &jobs).await?;
            jobs.flush().await?;
            counts = finished(&ground.database, number).await?;
        }
        Ok::<_, BoxError>((counts, replayed, letters))
    };
    let ((counts, replayed, letters), spans, died) = pipeline.until(args, work).await?;
    for (id, reason, _) in &letters {
        println!("{}: {id}: {reason}", if args.replay { "replayed" } else { "dead letter" });
    }
    println!("results: {url}");
    let totals =
        Totals { documents: number, processed: counts.stored, dead_lettered: counts.letters, replayed };
    Ok(Report::new(totals, args.relation, &prefix, spans, died))
}

/// The roles, beside us or as processes.
enum Pipeline {
    Here(Box<Running>, Telemetry, opentelemetry_sdk::trace::InMemorySpanExporter),
    Processes(Children, Telemetry, PathBuf),
}

impl Pipeline {
    async fn start(args: &Args, prefix: &str, database: &str, ground: &Ground) -> Result<Self, BoxError> {
        match args.brokers {
            Which::Memory => {
                let (telemetry, spans) = telemetry::in_memory(args)?;
                let mut running = Running::new(telemetry.clone())?;
                for role in Role::PARTS {
                    running.start(role, ground).await?;
                }
                Ok(Pipeline::Here(Box::new(running), telemetry, spans))
            }
            Which::Real => {
                let folder = args
                    .spans
                    .clone()
                    .unwrap_or_else(|| std::env::temp_dir().join(format!("{prefix}-spans")));
                std::fs::create_dir_all(&folder).map_err(|error| documents::named(&folder, &error))?;
                let telemetry = telemetry::in_files(args, Role::All.name(), &folder)?;
                let children = Children::start(args, prefix, database, &folder, ground)?;
                Ok(Pipeline::Processes(children, telemetry, folder))
            }
        }
    }

    /// Runs until the work is done. Gives what came of it, every span, and those that died with their process.
    async fn until<T>(
        self,
        args: &Args,
        work: impl Future<Output = Result<T, BoxError>>,
    ) -> Result<(T, Vec<SpanRecord>, Vec<SpanRef>), BoxError> {
        let mut done = None;
        let work = async { done = Some(work.await) };
        let (telemetry, read): (_, Box<dyn FnOnce() -> Result<_, BoxError>>) = match self {
            Pipeline::Here(running, telemetry, spans) => {
                running.until(work).await?;
                let read = move || {
                    let spans = spans.get_finished_spans()?;
                    Ok((spans.into_iter().map(SpanRecord::from).collect(), Vec::new()))
                };
                (telemetry, Box::new(read))
            }
            Pipeline::Processes(children, telemetry, folder) => {
                work.await;
                children.stop().await?;
                let read = move || Ok((read_spans(&folder)?, unfinished_spans(&folder)?));
                (telemetry, Box::new(read))
            }
        };
        telemetry::flushed(args, &telemetry).await?;
        let (spans, died) = read()?;
        Ok((done.ok_or("the pipeline ended before its work")??, spans, died))
    }
}

/// Waits until every document is stored and audited, or a dead letter, or nothing moves any more.
async fn finished(database: &Database, documents: usize) -> Result<Counts, BoxError> {
    let (mut before, mut since, mut shown) = (Counts::default(), Instant::now(), Instant::now());
    loop {
        let now = database.counts().await?;
        let done = now.stored + now.letters >= documents && now.audited >= now.stored;
        if done || since.elapsed() > PATIENCE {
            return Ok(now);
        }
        if now != before {
            (before, since) = (now, Instant::now());
        }
        if shown.elapsed() >= SHOW {
            shown = Instant::now();
            let Counts { stored, audited, letters } = now;
            eprintln!("{stored} of {documents} stored, {audited} audited, {letters} dead letters");
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// A name that no other run has.
fn own_name() -> String {
    let now = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_millis());
    format!("pipeline-{}-{now}", std::process::id())
}

fn scratch_database(run: &str) -> String {
    let file = std::env::temp_dir().join(format!("ai-{run}.db"));
    format!("sqlite:{}?mode=rwc", file.display())
}
