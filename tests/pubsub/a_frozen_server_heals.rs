//! G6: the server is frozen for 5 s and for 30 s on the way. It is not killed, since it keeps nothing: that it loses what it
//! acknowledged would be no fault of ours.

use crate::site::Project;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};
use throughline::{BoxError, Error, Message, State, Worker, handler_with};
use throughline_test::{Demands, Entry, Ev};
use throughline_tests::{Run, Stage, Tellable, WorkerProcess, send_until_over, until, within};
use tokio::task::block_in_place;
use xtask::OwnPubSub;

/// The leases of what two workers held ran out while the server stood still, and so did their answers: in flight, read ahead,
/// and not confirmed.
const DUPLICATES: u64 = 2 * 2 * (64 + 64 + 1_000);
/// After the server goes on, until something is handled again.
const HEALED: Duration = Duration::from_secs(5);
/// Of one core, while the server stands still.
const CPU: f64 = 0.05;
/// What was received is handled within this.
const RECEIVED: Duration = Duration::from_secs(2);
/// Between two messages of the publisher.
const PACE: Duration = Duration::from_millis(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_and_every_failed_send_is_told() {
    let server = block_in_place(OwnPubSub::start).unwrap();
    let broker = Project::at(&server.address());
    let run = Run::begin(&broker, "G6", Demands::new().duplicates(DUPLICATES));
    let mut stage = Stage::new(&broker);
    let topic = stage.topic(1).await;
    let handled = Arc::<AtomicU64>::default();
    let state = (run.clone(), handled.clone());
    let stack = move || handler_with(state.clone(), note);
    stage.spawn(Worker::new("w", stage.subscription(&topic), stack).in_flight(64));
    // Another one by itself, whose CPU is nobody else's.
    let subscription = Project::subscription_of(&topic);
    let words = [server.address(), subscription, run.folder().to_str().unwrap().to_owned()];
    let process = WorkerProcess::start("pubsub_worker", &words);
    let over = Arc::<AtomicBool>::default();
    let tellable = || Error::is_retriable as Tellable;
    let publisher = stage.publisher(&topic);
    let publishing = tokio::spawn(send_until_over(publisher, run.clone(), 0.., PACE, over.clone(), tellable));
    for outage in [5, 30].map(Duration::from_secs) {
        let before = handled.load(SeqCst);
        until("it works", || handled.load(SeqCst) > before + 50).await;
        server.freeze();
        tokio::time::sleep(RECEIVED).await;
        let cpu = process.cpu();
        tokio::time::sleep(outage - RECEIVED).await;
        if let (Some(before), Some(after)) = (cpu, process.cpu()) {
            let share = (after - before).as_secs_f64() / (outage - RECEIVED).as_secs_f64();
            println!(
                "CPU of a worker whose server is frozen for {outage:?}: {:.1} % of a core",
                share * 100.0
            );
            assert!(share < CPU, "{share} of a core, for nothing");
        }
        let before = handled.load(SeqCst);
        server.thaw();
        let ready = Instant::now();
        until("a message is handled again", || handled.load(SeqCst) > before).await;
        println!("first message {:?} after the server went on", ready.elapsed());
        assert!(ready.elapsed() < HEALED, "{:?}", ready.elapsed());
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    over.store(true, SeqCst);
    let told = within("all sends", publishing).await.unwrap();
    println!("{told:?}");
    within("everything is handled", async {
        while run.row().lost > 0 {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })
    .await;
    process.stop().await;
    stage.end().await;
    println!("{}", run.conclude());
}

async fn note(message: Message, State((run, handled)): State<(Run, Arc<AtomicU64>)>) -> Result<(), BoxError> {
    let id = std::str::from_utf8(message.payload())?.parse()?;
    run.record(Entry::new(Ev::Finished, id));
    handled.fetch_add(1, SeqCst);
    Ok(())
}
