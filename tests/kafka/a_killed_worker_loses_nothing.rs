//! G5: worker processes are killed with SIGKILL on the way and started again; nothing is lost, duplicates are bounded,
//! and no edge of the surviving spans is broken. G4: with SIGTERM nothing is doubled either.

#![allow(clippy::print_stdout, reason = "the rows are shown")]

use opentelemetry_sdk::trace::InMemorySpanExporter;
use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use throughline::{
    Message, Publisher, Telemetry,
    kafka::{Admin, Kafka},
};
use throughline_test::{Demands, Entry, Ev, Expect, Graph, Ledger, Meta, SpanRecord, check, read_spans};

/// What a killed worker may have done without a commit: in flight and buffer (64 + 256), and what it can do within a
/// commit interval of 200 ms on a fast machine.
const DUPLICATES_PER_KILL: u64 = 320 + 20_000;

const PARTITIONS: i32 = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_workers_is_killed_among_200_000_messages() {
    let run = Run::begin("one-kill", 200_000, 1).await;
    let publishing = tokio::task::spawn(run.clone().publish(None));
    let mut workers = [run.worker(None), run.worker(None)];
    run.wait_for_commits(20_000).await;
    run.kill(&mut workers[1]);
    workers[1] = run.worker(None);
    publishing.await.unwrap();
    run.wait_for_commits(200_000).await;
    workers.into_iter().for_each(Worker::stop);
    run.conclude();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_kills_lose_nothing_and_break_no_edge() {
    const KILLS: u64 = 30;
    let exporter = InMemorySpanExporter::default();
    let telemetry = Telemetry::builder("producer").exporter(exporter.clone()).global(false).build().unwrap();
    let run = Run::begin("thirty-kills", 20_000, KILLS).await;
    let publishing = tokio::task::spawn(run.clone().publish(Some(telemetry.clone())));
    let mut spans = Vec::new();
    let mut start = || {
        spans.push(run.folder.join(format!("{}.spans", spans.len())));
        run.worker(spans.last())
    };
    let mut workers = [start(), start()];
    for n in 0..KILLS {
        // At random moments, and only after something was done since the last kill, while there is work.
        let moment = Duration::from_millis(fastrand::u64(50..600));
        run.wait_for_commits((n * 20_000 / (2 * KILLS)) as i64).await;
        tokio::time::sleep(moment).await;
        let victim = &mut workers[fastrand::usize(..2)];
        run.kill(victim);
        *victim = start();
    }
    publishing.await.unwrap();
    run.wait_for_commits(20_000).await;
    workers.into_iter().for_each(Worker::stop);
    run.conclude();

    telemetry.flush(Duration::from_secs(10)).unwrap();
    assert_eq!(telemetry.dropped(), 0);
    let mut all: Vec<SpanRecord> =
        exporter.get_finished_spans().unwrap().into_iter().map(SpanRecord::from).collect();
    for file in &spans {
        // A worker may be killed before it ended a span.
        all.extend(read_spans(file).unwrap_or_default());
        let _ = std::fs::remove_file(file);
    }
    let expect = Expect::new().sends(20_000).process_spans(20_000..).components(20_000).redeliveries(0..);
    let report = Graph::new(all).check(&expect).unwrap();
    println!("{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn graceful_stops_at_random_points_lose_and_double_nothing() {
    const STOPS: i64 = 6;
    let demands = Demands::new().ids(125_000).duplicates(0);
    let run = Run::begin_with("graceful", "G4", 125_000, (61, 3), demands).await;
    let publishing = tokio::task::spawn(run.clone().publish(None));
    let mut workers = [run.worker(None), run.worker(None)];
    for n in 0..STOPS {
        run.wait_for_commits(n * 125_000 / (2 * STOPS) + 1).await;
        tokio::time::sleep(Duration::from_millis(fastrand::u64(20..300))).await;
        let next = run.worker(None);
        std::mem::replace(&mut workers[fastrand::usize(..2)], next).stop();
    }
    publishing.await.unwrap();
    run.wait_for_commits(125_000).await;
    workers.into_iter().for_each(Worker::stop);
    run.conclude();
}

/// A topic, a group, a ledger.
#[derive(Clone)]
struct Run {
    servers: String,
    admin: Admin,
    name: String,
    ids: u64,
    /// Few keys and handlers that take their time make long lanes: what waits in one holds the commit below what is
    /// done in another.
    keys: u64,
    handler_ms: u64,
    folder: PathBuf,
    ledger: Ledger,
}

/// A worker process; killed if the test ends before it.
struct Worker(Option<Child>);

impl Run {
    async fn begin(what: &str, ids: u64, kills: u64) -> Run {
        let demands =
            Demands::new().ids(ids).kills(kills).duplicates(0).duplicates_per_kill(DUPLICATES_PER_KILL);
        Run::begin_with(what, "G5", ids, (997, 0), demands).await
    }

    async fn begin_with(
        what: &str,
        guarantee: &str,
        ids: u64,
        (keys, handler_ms): (u64, u64),
        demands: Demands,
    ) -> Run {
        let servers = crate::servers();
        let name = format!("{what}-{:08x}", fastrand::u32(..));
        let admin = Kafka::new(servers.clone()).admin();
        admin.create_topic(&name, PARTITIONS).await.unwrap();
        let root = std::env::var_os("THROUGHLINE_LEDGERS");
        let folder =
            root.map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from).join(&name);
        let meta = Meta { guarantee: guarantee.into(), broker: "kafka".into(), tier: 1, started: 0, demands };
        let ledger = Ledger::begin(&folder, &meta).unwrap();
        Run { servers, admin, name, ids, keys, handler_ms, folder, ledger }
    }

    async fn publish(self, telemetry: Option<Telemetry>) {
        let sink = Kafka::new(self.servers).topic(self.name);
        let publisher = Publisher::with_telemetry(sink, &telemetry.unwrap_or_else(Telemetry::off));
        let ids: Vec<u64> = (0..self.ids).collect();
        for chunk in ids.chunks(1_000) {
            let messages =
                chunk.iter().map(|id| Message::new(id.to_string()).with_key((id % self.keys).to_string()));
            let receipts = publisher.send_all(messages).await;
            for (receipt, &id) in receipts.into_iter().zip(chunk) {
                receipt.unwrap();
                self.ledger.record(Entry::new(Ev::Produced, id)).unwrap();
            }
        }
    }

    fn worker(&self, spans: Option<&PathBuf>) -> Worker {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kafka_worker"));
        command.env("HANDLER_MS", self.handler_ms.to_string());
        command.args([&self.servers, &self.name, "group"]).arg(&self.folder).args(spans);
        Worker(Some(command.stdin(Stdio::null()).spawn().unwrap()))
    }

    fn kill(&self, worker: &mut Worker) {
        if let Some(mut child) = worker.0.take() {
            child.kill().unwrap();
            child.wait().unwrap();
            self.ledger.record(Entry::killed(child.id())).unwrap();
        }
    }

    /// Until the group has committed so many messages in all.
    async fn wait_for_commits(&self, messages: i64) {
        let since = Instant::now();
        loop {
            let committed = self.admin.committed("group", &self.name).await.unwrap();
            let done: i64 = committed.iter().filter_map(|(_, offset)| *offset).sum();
            if done >= messages {
                return;
            }
            assert!(since.elapsed() < Duration::from_secs(180), "{done} of {messages} after three minutes");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn conclude(&self) {
        let row = check(&self.folder).unwrap();
        println!("{row}");
        assert!(row.ok, "{row}");
    }
}

impl Worker {
    /// With SIGTERM: it has to end by itself, and cleanly.
    fn stop(mut self) {
        if let Some(mut child) = self.0.take() {
            let told = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
            assert!(told.success());
            assert!(child.wait().unwrap().success(), "a drained worker exits with success");
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
