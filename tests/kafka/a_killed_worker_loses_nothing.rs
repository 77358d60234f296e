//! G5: worker processes are killed with SIGKILL on the way and started again; nothing is lost, duplicates are bounded,
//! and no edge of the surviving spans is broken. G4: with SIGTERM nothing is doubled either.

use opentelemetry_sdk::trace::InMemorySpanExporter;
use std::{path::PathBuf, time::Duration};
use throughline::{Message, Telemetry};
use throughline_test::{Demands, Expect, Graph, Outcome, SpanRecord, read_spans};
use throughline_tests::{
    kafka::{Cluster, Crew},
    tier,
};

/// What a killed worker may have done without a commit: in flight and buffer (64 + 256), and what it can do within a
/// commit interval of 200 ms on a fast machine.
const DUPLICATES_PER_KILL: u64 = 320 + 20_000;

const PARTITIONS: u32 = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_workers_is_killed_among_200_000_messages() {
    let crew = Crew::gather(&Cluster::new(), "G5", PARTITIONS, demands(200_000, 1)).await;
    let publishing = publish(&crew, 200_000, 997, &Telemetry::off());
    let [survivor, victim] = [crew.worker(&[]), crew.worker(&[])];
    crew.wait_for_commits(20_000).await;
    crew.kill(victim);
    let next = crew.worker(&[]);
    publishing.await.unwrap();
    crew.wait_for_commits(200_000).await;
    survivor.stop().await;
    next.stop().await;
    crew.conclude();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_kills_lose_nothing_and_break_no_edge() {
    let kills = if tier() == 1 { 30 } else { 500 };
    let exporter = InMemorySpanExporter::default();
    let telemetry = Telemetry::builder("producer").exporter(exporter.clone()).global(false).build().unwrap();
    let crew = Crew::gather(&Cluster::new(), "G5", PARTITIONS, demands(20_000, kills)).await;
    let publishing = publish(&crew, 20_000, 997, &telemetry);
    let mut spans: Vec<PathBuf> = Vec::new();
    let mut start = || {
        spans.push(crew.run.folder().join(format!("{}.spans", spans.len())));
        crew.worker(&["--spans", spans[spans.len() - 1].to_str().unwrap()])
    };
    let mut workers = vec![start(), start()];
    for n in 0..kills {
        // At random moments, and only after something was done since the last kill, while there is work.
        let moment = Duration::from_millis(fastrand::u64(50..600));
        crew.wait_for_commits(n * 20_000 / (2 * kills)).await;
        tokio::time::sleep(moment).await;
        crew.kill(workers.swap_remove(fastrand::usize(..2)));
        workers.push(start());
    }
    publishing.await.unwrap();
    crew.wait_for_commits(20_000).await;
    for worker in workers {
        worker.stop().await;
    }
    crew.conclude();

    telemetry.flush(Duration::from_secs(10)).unwrap();
    assert_eq!(telemetry.dropped(), 0);
    let mut all: Vec<SpanRecord> =
        exporter.get_finished_spans().unwrap().into_iter().map(SpanRecord::from).collect();
    for file in &spans {
        // A worker may be killed before it ended a span.
        all.extend(read_spans(file).unwrap_or_default());
        let _ = std::fs::remove_file(file);
    }
    // A commit that a rebalance refused is seen, and belongs to no message.
    all.retain(|span| !(span.name.starts_with("commit ") && matches!(span.status, Outcome::Error(_))));
    let expect = Expect::new().sends(20_000).process_spans(20_000..).components(20_000).redeliveries(0..);
    let report = Graph::new(all).check(&expect).unwrap();
    println!("{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn graceful_stops_at_random_points_lose_and_double_nothing() {
    const STOPS: u64 = 6;
    let demands = Demands::new().ids(125_000).duplicates(0);
    let crew = Crew::gather(&Cluster::new(), "G4", PARTITIONS, demands).await;
    // Few keys and handlers that take their time make long lanes: what waits in one holds the commit below what is done
    // in another.
    let publishing = publish(&crew, 125_000, 61, &Telemetry::off());
    let worker = || crew.worker(&["--handler-ms", "3"]);
    let mut workers = [worker(), worker()];
    for n in 0..STOPS {
        crew.wait_for_commits(n * 125_000 / (2 * STOPS) + 1).await;
        tokio::time::sleep(Duration::from_millis(fastrand::u64(20..300))).await;
        std::mem::replace(&mut workers[fastrand::usize(..2)], worker()).stop().await;
    }
    publishing.await.unwrap();
    crew.wait_for_commits(125_000).await;
    for worker in workers {
        worker.stop().await;
    }
    crew.conclude();
}

fn demands(ids: u64, kills: u64) -> Demands {
    Demands::new().ids(ids).kills(kills).duplicates(0).duplicates_per_kill(DUPLICATES_PER_KILL)
}

fn publish(crew: &Crew, ids: u64, keys: u64, telemetry: &Telemetry) -> tokio::task::JoinHandle<()> {
    let (crew, telemetry) = (crew.clone(), telemetry.clone());
    let message = move |id: u64| Message::new(id.to_string()).with_key((id % keys).to_string());
    tokio::task::spawn(async move { crew.publish(&telemetry, 0..ids, Duration::ZERO, message).await })
}
