//! FC-48 at its full length, on a worker process that does nothing else: what a permanent failure costs.

use crate::site::{Account, endpoint};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use throughline::{Message, Publisher, Telemetry};
use throughline_test::{Demands, Entry, Ev, conformance::Broker, entries};
use throughline_tests::{Run, WorkerProcess, eventually};

const GOOD: u64 = 1_000;
/// As many as handlers may run.
const BAD: u64 = 8;
const WINDOW: Duration = Duration::from_secs(60);
const AT_MOST: usize = 12;
/// Until the good ones are done: three seconds on a machine that does nothing else, ten in the field case; and here other
/// brokers' tests run beside it.
const GOOD_DONE: Duration = Duration::from_secs(20);
/// Of one core, once the good ones are done.
const CPU: f64 = 0.05;

/// Eight messages that always fail, ahead of a thousand good ones, with a worker as it is by default: the good ones are done
/// soon, each bad one is delivered a few times in a minute, and neither CPU nor log pay for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_permanent_failure_takes_neither_cpu_nor_log() {
    let broker = Account::new();
    let queue = broker.fresh_name("bad");
    broker.create_topic(&queue, 1).await.unwrap();
    let run = Run::begin(&broker, "FC-48", Demands::new().ids(GOOD));
    let publisher = Publisher::with_telemetry(broker.sink(&queue), &Telemetry::off());
    let bad = (0..BAD).map(|n| Message::new(format!("bad {}", GOOD + n)));
    assert!(publisher.send_all(bad).await.iter().all(Result::is_ok));
    let good = (0..GOOD).map(|id| Message::new(id.to_string()));
    for (id, receipt) in (0..).zip(publisher.send_all(good).await) {
        receipt.unwrap();
        run.record(Entry::new(Ev::Produced, id));
    }
    let folder = run.folder().to_str().unwrap().to_owned();
    let worker = WorkerProcess::start("sqs_worker", &[endpoint(), queue, folder, BAD.to_string()]);
    let written = || async { entries(run.folder()).unwrap() };
    let started = |all: &Vec<Entry<'_>>| all.iter().any(|entry| entry.ev == Ev::Started);
    eventually("it works", written, started).await;
    let since = Instant::now();
    let of = |all: &[Entry<'_>], ev: Ev| all.iter().filter(|entry| entry.ev == ev).count();
    eventually("the good ones are done", written, |all| of(all, Ev::Finished) == GOOD as usize).await;
    let took = since.elapsed();
    assert!(took < GOOD_DONE, "the good ones took {took:?}");
    let (cpu, from) = (worker.cpu(), Instant::now());
    tokio::time::sleep(WINDOW.saturating_sub(since.elapsed())).await;
    if let (Some(before), Some(after)) = (cpu, worker.cpu()) {
        let share = (after - before).as_secs_f64() / from.elapsed().as_secs_f64();
        println!("CPU beside messages that always fail: {:.1} % of a core", share * 100.0);
        assert!(share < CPU, "{share} of a core");
    }
    let all = written().await;
    let mut deliveries = BTreeMap::<u64, usize>::new();
    for entry in all.iter().filter(|entry| entry.ev == Ev::Failed) {
        *deliveries.entry(entry.id.unwrap()).or_default() += 1;
    }
    println!("the good ones took {took:?}; deliveries of the bad ones: {deliveries:?}");
    assert_eq!(deliveries.len(), BAD as usize);
    assert!(deliveries.values().all(|times| (2..=AT_MOST).contains(times)), "{deliveries:?}");
    let ended = worker.end().await;
    assert!(ended.status.success(), "{ended:?}");
    let lines = ended.output.lines().count();
    assert!(lines <= deliveries.values().sum(), "{lines} lines: {}", ended.output);
    println!("{lines} lines of log\n{}", run.conclude());
}
