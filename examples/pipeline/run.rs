//! Puts the roles together.

use crate::{
    args::{Args, Role},
    broker::{Broker, Topics},
    classify, documents,
    report::{Report, Totals},
    store, telemetry,
};
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};
use throughline::{BoxError, Publisher, Runtime, WorkerHandle, shutdown_signal};
use tower::limit::RateLimitLayer;

/// How often progress is shown.
const LOOK: Duration = Duration::from_millis(500);

/// After this long without any progress the rest counts as lost.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn run(args: &Args) -> Result<Report, BoxError> {
    let documents = if args.role.has(Role::Publish) { documents::read(&args.paths)? } else { Vec::new() };
    let topics = Topics::new(args);
    let broker = Broker::open(args, &topics).await?;
    let (telemetry, spans) = telemetry::set_up(args)?;
    let mut runtime = Runtime::new(telemetry.clone())?.grace(Duration::from_secs(20));

    let mut classifying = None;
    if args.role.has(Role::Classify) {
        let classified = Publisher::new(broker.sink(&topics.classified))
            .layer(RateLimitLayer::new(500, Duration::from_secs(1)));
        let dead = Publisher::new(broker.sink(&topics.dead));
        let documents = broker.subscription(&topics.documents, "classify");
        classifying = Some(runtime.spawn(classify::worker(documents, classified, dead)));
    }
    let mut stored = None;
    if args.role.has(Role::Store) {
        let path = args.store.clone().unwrap_or_else(default_store);
        let store = store::Store::create(&path)?;
        println!("results: {}", path.display());
        stored = Some(store.watch());
        runtime.spawn(store::worker(broker.subscription(&topics.classified, "store"), store));
    }

    let mut totals = Totals { documents: documents.len(), ..Totals::default() };
    if args.role.has(Role::Publish) {
        let publisher = Publisher::new(broker.sink(&topics.documents));
        let receipts = publisher.send_all(documents.iter().map(classify::message)).await;
        // One that was not accepted is not in the pipeline: the caller knows, and nothing is lost in silence.
        receipts.into_iter().collect::<Result<Vec<_>, _>>()?;
        println!("published {} documents", documents.len());
    }
    let put_aside = |classifying: &Option<WorkerHandle>| {
        classifying.as_ref().map_or(0, |worker| worker.status().counts.put_aside as usize)
    };
    match (args.role, stored.clone()) {
        (Role::All, Some(mut stored)) => {
            let done = async {
                let (mut before, mut since) = (0, Instant::now());
                loop {
                    let now = *stored.borrow_and_update() + put_aside(&classifying);
                    if now >= totals.documents || since.elapsed() > PATIENCE {
                        return;
                    }
                    if now > before {
                        (before, since) = (now, Instant::now());
                        eprintln!("{now} of {} done", totals.documents);
                    }
                    // A dead letter is counted, not watched: so look again after a while in any case.
                    tokio::time::sleep(LOOK).await;
                }
            };
            runtime.until(done).await?;
        }
        (Role::Publish, _) => runtime.until(std::future::ready(())).await?,
        _ => runtime.until(shutdown_signal()).await?,
    }
    totals.dead_lettered = put_aside(&classifying);
    totals.processed = match (&stored, &classifying) {
        (Some(stored), _) => *stored.borrow(),
        (None, Some(classifying)) => classifying.status().counts.acked as usize,
        (None, None) => 0,
    };
    telemetry.flushed(Duration::from_secs(5)).await?;
    let spans = spans.get_finished_spans()?;
    Ok(Report::new(args.role, totals, spans.into_iter().map(Into::into).collect()))
}

fn default_store() -> PathBuf {
    std::env::temp_dir().join(format!("throughline-pipeline-{}.jsonl", std::process::id()))
}
