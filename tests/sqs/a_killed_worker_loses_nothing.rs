//! G5 and G1: worker processes are killed with SIGKILL on the way and started again; nothing is lost, duplicates are bounded,
//! and no edge of the surviving spans is broken. G4: with SIGTERM nothing is doubled.

use crate::site::{Account, endpoint};
use opentelemetry_sdk::trace::InMemorySpanExporter;
use std::{path::PathBuf, time::Duration};
use throughline::{Message, Publisher, Telemetry};
use throughline_test::{Demands, Entry, Ev, Expect, Graph, SpanRecord, conformance::Broker, read_spans};
use throughline_tests::{Run, WorkerProcess, within};

const MESSAGES: u64 = 20_000;
const KILLS: u64 = 10;
/// What a killed worker may have done without a delete: in flight (64), and answers that were not confirmed (1,000).
const DUPLICATES_PER_KILL: u64 = 64 + 1_000;

/// A queue and its worker processes.
struct Crew {
    broker: Account,
    queue: String,
    run: Run,
}

impl Crew {
    async fn gather(guarantee: &str, demands: Demands) -> Crew {
        let broker = Account::new();
        let queue = broker.fresh_name(guarantee);
        broker.create_topic(&queue, 1).await.unwrap();
        let run = Run::begin(&broker, guarantee, demands);
        Crew { broker, queue, run }
    }

    fn worker(&self, spans: Option<&PathBuf>) -> WorkerProcess {
        let folder = self.run.folder().to_str().unwrap().to_owned();
        let spans = spans.map(|path| path.to_str().unwrap().to_owned());
        let words: Vec<_> = [endpoint(), self.queue.clone(), folder].into_iter().chain(spans).collect();
        WorkerProcess::start("sqs_worker", &words)
    }

    async fn publish(&self, telemetry: &Telemetry, ids: std::ops::Range<u64>) {
        let publisher = Publisher::with_telemetry(self.broker.sink(&self.queue), telemetry);
        let receipts = publisher.send_all(ids.clone().map(|id| Message::new(id.to_string()))).await;
        for (id, receipt) in ids.zip(receipts) {
            receipt.unwrap();
            self.run.record(Entry::new(Ev::Produced, id));
        }
    }

    /// Until no more than so many are left.
    async fn wait_until_left(&self, most: u64) {
        within("the queue shrinks", async {
            while self.broker.counts(&self.queue).await.iter().sum::<u64>() > most {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_kills_lose_nothing_and_break_no_edge() {
    let exporter = InMemorySpanExporter::default();
    let telemetry = Telemetry::builder("producer").exporter(exporter.clone()).global(false).build().unwrap();
    let demands =
        Demands::new().ids(MESSAGES).kills(KILLS).duplicates(0).duplicates_per_kill(DUPLICATES_PER_KILL);
    let crew = Crew::gather("G5", demands).await;
    crew.publish(&telemetry, 0..MESSAGES).await;
    let mut spans: Vec<PathBuf> = Vec::new();
    let mut start = || {
        spans.push(crew.run.folder().join(format!("{}.spans", spans.len())));
        crew.worker(spans.last())
    };
    let mut workers = [start(), start()];
    for n in 0..KILLS {
        // At random moments, and only after something was done since the last kill, while there is work.
        crew.wait_until_left(MESSAGES - (n + 1) * MESSAGES / (2 * KILLS)).await;
        tokio::time::sleep(Duration::from_millis(fastrand::u64(..200))).await;
        let mut victim = std::mem::replace(&mut workers[fastrand::usize(..2)], start());
        victim.kill();
        crew.run.record(Entry::killed(victim.id()));
    }
    crew.wait_until_left(0).await;
    for worker in workers {
        worker.stop().await;
    }
    println!("{}", crew.run.conclude());

    telemetry.flush(Duration::from_secs(10)).unwrap();
    assert_eq!(telemetry.dropped(), 0);
    let mut all: Vec<SpanRecord> =
        exporter.get_finished_spans().unwrap().into_iter().map(SpanRecord::from).collect();
    for file in &spans {
        // A worker may be killed before it ended a span.
        all.extend(read_spans(file).unwrap_or_default());
        let _ = std::fs::remove_file(file);
    }
    let all_of_them = MESSAGES as usize;
    let expect = Expect::new().sends(all_of_them).components(all_of_them).redeliveries(0..);
    Graph::new(all).check(&expect).unwrap();
}

/// Members come one after the other, and nobody is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_join_lose_nothing() {
    let crew = Crew::gather("G1", Demands::new().ids(MESSAGES).duplicates(0)).await;
    let first = crew.worker(None);
    crew.publish(&Telemetry::off(), 0..MESSAGES / 2).await;
    let second = crew.worker(None);
    crew.publish(&Telemetry::off(), MESSAGES / 2..MESSAGES).await;
    let third = crew.worker(None);
    crew.wait_until_left(0).await;
    for worker in [first, second, third] {
        worker.stop().await;
    }
    println!("{}", crew.run.conclude());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn graceful_stops_at_random_points_lose_and_double_nothing() {
    const STOPS: u64 = 6;
    let crew = Crew::gather("G4", Demands::new().ids(MESSAGES).duplicates(0)).await;
    crew.publish(&Telemetry::off(), 0..MESSAGES).await;
    let mut workers = [crew.worker(None), crew.worker(None)];
    for n in 0..STOPS {
        crew.wait_until_left(MESSAGES - (n + 1) * MESSAGES / (2 * STOPS)).await;
        tokio::time::sleep(Duration::from_millis(fastrand::u64(20..300))).await;
        std::mem::replace(&mut workers[fastrand::usize(..2)], crew.worker(None)).stop().await;
    }
    crew.wait_until_left(0).await;
    for worker in workers {
        worker.stop().await;
    }
    println!("{}", crew.run.conclude());
}
