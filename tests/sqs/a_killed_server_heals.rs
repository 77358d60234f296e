//! G6: the server's process is killed for 5 s and for 30 s on the way, and started again with what it had acknowledged.

use crate::site::Account;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};
use throughline::{BoxError, Error, ErrorKind, Message, State, Worker, handler_with};
use throughline_test::{Demands, Entry, Ev};
use throughline_tests::{Run, Stage, Tellable, WorkerProcess, send_until_over, until, within};
use tokio::task::block_in_place;
use xtask::OwnSqs;

/// What was handled and whose delete the outage ate, with what was in flight: both outages, two workers.
const DUPLICATES: u64 = 2 * 2 * (64 + 1_000);
/// After the server answers, until something is handled again.
const HEALED: Duration = Duration::from_secs(5);
/// Of one core, while there is no server.
const CPU: f64 = 0.05;
/// What was received is handled within this after the server's end.
const RECEIVED: Duration = Duration::from_secs(2);
/// Between two messages of the publisher.
const PACE: Duration = Duration::from_millis(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_and_every_failed_send_is_told() {
    let mut server = block_in_place(OwnSqs::start).unwrap();
    let endpoint = format!("http://{}", server.address());
    let broker = Account::at(&endpoint);
    let run = Run::begin(&broker, "G6", Demands::new().duplicates(DUPLICATES));
    let mut stage = Stage::new(&broker);
    let queue = stage.topic(1).await;
    let handled = Arc::<AtomicU64>::default();
    let state = (run.clone(), handled.clone());
    let subscription = stage.subscription(&queue).visibility(Duration::from_secs(5));
    let stack = move || handler_with(state.clone(), note);
    let handle = stage.spawn(Worker::new("w", subscription, stack).in_flight(64));
    // Another one by itself, whose CPU is nobody else's.
    let words = [endpoint, queue.clone(), run.folder().to_str().unwrap().to_owned()];
    let process = WorkerProcess::start("sqs_worker", &words);
    let (over, away) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
    let unready = away.clone();
    let tellable =
        move || if unready.load(SeqCst) { while_it_starts } else { Error::is_retriable as Tellable };
    let publisher = stage.publisher(&queue);
    let publishing = tokio::spawn(send_until_over(publisher, run.clone(), 0.., PACE, over.clone(), tellable));
    for outage in [5, 30].map(Duration::from_secs) {
        let before = handled.load(SeqCst);
        until("it works", || handled.load(SeqCst) > before + 50).await;
        away.store(true, SeqCst);
        block_in_place(|| server.kill()).unwrap();
        tokio::time::sleep(RECEIVED).await;
        let cpu = process.cpu();
        tokio::time::sleep(outage - RECEIVED).await;
        if let (Some(before), Some(after)) = (cpu, process.cpu()) {
            let share = (after - before).as_secs_f64() / (outage - RECEIVED).as_secs_f64();
            println!("CPU of a worker without its server for {outage:?}: {:.1} % of a core", share * 100.0);
            assert!(share < CPU, "{share} of a core, for nothing");
        }
        assert!(handle.status().reconnecting, "status tells the outage");
        let before = handled.load(SeqCst);
        block_in_place(|| server.restart()).unwrap();
        away.store(false, SeqCst);
        let ready = Instant::now();
        until("a message is handled again", || handled.load(SeqCst) > before).await;
        println!("first message {:?} after the server was ready", ready.elapsed());
        assert!(ready.elapsed() < HEALED, "{:?}", ready.elapsed());
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    over.store(true, SeqCst);
    let told = within("all sends", publishing).await.unwrap();
    println!("{told:?}");
    assert!(told.failed > 0, "30 s are more than a send waits for");
    within("everything is handled", async {
        while broker.counts(&queue).await != [0; 3] {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    process.stop().await;
    stage.end().await;
    let row = run.conclude();
    println!("{row}");
}

/// What the caller of a send may be told that began before the server was ready. This server listens before it has read what
/// it kept, and says for a moment that the queue does not exist: that a send does not try again for its caller, since a
/// queue that was deleted says the same.
fn while_it_starts(error: &Error) -> bool {
    error.is_retriable() || error.kind() == ErrorKind::NotFound
}

async fn note(message: Message, State((run, handled)): State<(Run, Arc<AtomicU64>)>) -> Result<(), BoxError> {
    let id = std::str::from_utf8(message.payload())?.parse()?;
    run.record(Entry::new(Ev::Finished, id));
    handled.fetch_add(1, SeqCst);
    Ok(())
}
