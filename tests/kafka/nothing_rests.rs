//! G17: no silent stall. What a client or a worker does to save work while there is none (a pause, a prefetch queue that is
//! full, a poll without a record) must never leave messages lying.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};
use throughline::{Message, Ordering, Publisher, State, Telemetry, Worker, handler_with};
use throughline_test::{Demands, Entry, Ev, conformance::Broker};
use throughline_tests::{Run, Stage, by_tier, kafka::Cluster, until};
use tokio::sync::watch;

const PARTITIONS: u64 = 6;
/// From a message for each partition to more than the worker's buffer of 40 can hold.
const BURSTS: [u64; 3] = [6, 24, 96];
/// Every so many cycles the handlers hold on for so long, so that everything is paused.
const HELD: (u64, Duration) = (50, Duration::from_millis(700));
/// The longest that a partition with messages may rest.
const REST: Duration = Duration::from_secs(1);

#[derive(Clone)]
struct Handling {
    run: Run,
    open: watch::Receiver<bool>,
    done: Arc<AtomicU64>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_bursts_after_idleness_are_handled_at_once() {
    let cycles = by_tier(1_000, 20_000);
    let messages = (0..cycles).map(|cycle| BURSTS[cycle as usize % 3]).sum();
    let cluster = Cluster::new();
    let run = Run::begin(&cluster, "G17", Demands::new().ids(messages).duplicates(0));
    let mut stage = Stage::new(&cluster);
    let topic = stage.topic(PARTITIONS as u32).await;
    let (gate, open) = watch::channel(true);
    let handling = Handling { run: run.clone(), open, done: Arc::default() };
    let state = handling.clone();
    let worker = Worker::new("w", stage.subscription(&topic), move || handler_with(state.clone(), handle));
    stage.spawn(worker.in_flight(8).ordering(Ordering::None));
    let publisher = Publisher::with_telemetry(cluster.sink(&topic), &Telemetry::off());
    let (mut next, mut worst) = (0, Duration::ZERO);
    for cycle in 0..cycles {
        let held = cycle % HELD.0 == HELD.0 - 1;
        gate.send_replace(!held);
        let ids = next..next + BURSTS[cycle as usize % 3];
        next = ids.end;
        let message = |id: u64| Message::new(id.to_string()).with_partition((id % PARTITIONS) as i32);
        for (receipt, id) in publisher.send_all(ids.clone().map(message)).await.into_iter().zip(ids) {
            receipt.unwrap();
            run.record(Entry::new(Ev::Produced, id));
        }
        if held {
            tokio::time::sleep(HELD.1).await;
            gate.send_replace(true);
        }
        let since = Instant::now();
        until("the burst is handled", || handling.done.load(SeqCst) == next).await;
        // The first one also waits for the group.
        if cycle > 0 {
            worst = worst.max(since.elapsed());
            assert!(worst < REST, "cycle {cycle}: {worst:?}");
        }
        tokio::time::sleep(Duration::from_millis(fastrand::u64(0..20))).await;
    }
    println!("no burst took longer than {worst:?}");
    stage.drain().await;
    println!("{}", run.conclude());
}

async fn handle(message: Message, State(mut handling): State<Handling>) {
    handling.open.wait_for(|open| *open).await.unwrap();
    let id = std::str::from_utf8(message.payload()).unwrap().parse().unwrap();
    handling.run.record(Entry::new(Ev::Finished, id));
    handling.done.fetch_add(1, SeqCst);
}
