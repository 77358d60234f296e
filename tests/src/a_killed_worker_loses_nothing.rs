//! G5: worker processes are killed with SIGKILL on the way and started again; nothing is lost, duplicates are bounded,
//! and no edge of the surviving spans is broken. G4: with SIGTERM nothing is doubled either.
//!
//! How many may be doubled is said by the demands of the run.

use crate::{WorkerProcess, Workforce};
use opentelemetry_sdk::trace::InMemorySpanExporter;
use std::{path::PathBuf, time::Duration};
use throughline::Telemetry;
use throughline_test::{Entry, Expect, Graph, Outcome, SpanRecord, read_spans};

/// Two workers are at it while this many messages are published; one of them is killed, and another is started in its
/// place, so many times.
#[allow(clippy::print_stdout, reason = "the row is shown")]
pub async fn many_kills_lose_nothing(
    crew: &impl Workforce,
    telemetry: &Telemetry,
    messages: u64,
    kills: u64,
    mut start: impl FnMut() -> WorkerProcess,
) {
    let mut workers = [start(), start()];
    tokio::join!(crew.publish(telemetry, messages), async {
        for n in 0..kills {
            // At random moments, and only after something was done since the last kill, while there is work.
            crew.wait_until_done((n + 1) * messages / (2 * kills + 2)).await;
            tokio::time::sleep(Duration::from_millis(fastrand::u64(..400))).await;
            let mut victim = std::mem::replace(&mut workers[fastrand::usize(..2)], start());
            victim.kill();
            crew.run().record(Entry::killed(victim.id()));
        }
    });
    crew.wait_until_done(messages).await;
    for worker in workers {
        worker.stop().await;
    }
    println!("{}", crew.run().conclude());
}

/// The same with spans.
#[allow(clippy::print_stdout, reason = "the report is shown")]
pub async fn many_kills_lose_nothing_and_break_no_edge(crew: &impl Workforce, messages: u64, kills: u64) {
    let exporter = InMemorySpanExporter::default();
    let telemetry = Telemetry::builder("producer").exporter(exporter.clone()).global(false).build().unwrap();
    let mut spans: Vec<PathBuf> = Vec::new();
    let start = || {
        spans.push(crew.run().folder().join(format!("{}.spans", spans.len())));
        crew.start(spans.last().map(PathBuf::as_path))
    };
    many_kills_lose_nothing(crew, &telemetry, messages, kills, start).await;

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
    let published = usize::try_from(messages).unwrap();
    let expect = Expect::new().sends(published).process_spans(published..).components(published);
    println!("{}", Graph::new(all).check(&expect.redeliveries(0..)).unwrap());
}

/// Six times one of two workers is stopped at a random point, and another takes its place.
#[allow(clippy::print_stdout, reason = "the row is shown")]
pub async fn graceful_stops_at_random_points_lose_and_double_nothing(crew: &impl Workforce, messages: u64) {
    const STOPS: u64 = 6;
    let untraced = Telemetry::off();
    let mut workers = [crew.start(None), crew.start(None)];
    tokio::join!(crew.publish(&untraced, messages), async {
        for n in 0..STOPS {
            crew.wait_until_done((n + 1) * messages / (2 * STOPS + 2)).await;
            tokio::time::sleep(Duration::from_millis(fastrand::u64(20..300))).await;
            let stopped = std::mem::replace(&mut workers[fastrand::usize(..2)], crew.start(None));
            stopped.stop().await;
        }
    });
    crew.wait_until_done(messages).await;
    for worker in workers {
        worker.stop().await;
    }
    println!("{}", crew.run().conclude());
}

/// Three workers come one after the other while this many messages are published, and nobody is killed.
#[allow(clippy::print_stdout, reason = "the row is shown")]
pub async fn each_member_joins_and_nothing_is_lost(crew: &impl Workforce, messages: u64) {
    let first = crew.start(None);
    let others = async {
        crew.wait_until_done(messages / 4).await;
        let second = crew.start(None);
        crew.wait_until_done(messages / 2).await;
        [second, crew.start(None)]
    };
    let untraced = Telemetry::off();
    let (others, ()) = tokio::join!(others, crew.publish(&untraced, messages));
    crew.wait_until_done(messages).await;
    for worker in [first].into_iter().chain(others) {
        worker.stop().await;
    }
    println!("{}", crew.run().conclude());
}
