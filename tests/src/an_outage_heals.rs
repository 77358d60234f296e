//! G6 where a server has no log: it goes away for 5 s and for 30 s on the way, and comes back with what it had acknowledged.

use crate::{
    Run, Sends, Site, Stage, Tellable, WorkerProcess, send_until_over, steps::number, until, within,
};
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};
use throughline::{Error, Message, State, Worker, handler_with};
use throughline_test::{Demands, Entry, Ev};

/// After the server is back, until something is handled again.
const HEALED: Duration = Duration::from_secs(5);
/// Of one core, while there is no server.
const CPU: f64 = 0.05;
/// What was received is handled within this after the server's end.
const RECEIVED: Duration = Duration::from_secs(2);
/// Between two messages of the publisher.
const PACE: Duration = Duration::from_millis(20);

/// One worker is here, and another one by itself, whose CPU is nobody else's: `start` is given a topic, and the folder of its
/// ledger. `switch` takes the server away and brings it back; meanwhile the caller of a send may be told what is `tellable`.
/// Gives what they were told, and whether the worker's status said each time that the server was away.
#[allow(clippy::print_stdout, reason = "figures are shown")]
pub async fn nothing_is_lost_and_every_failed_send_is_told<B: Site>(
    broker: &B,
    duplicates: u64,
    subscribe: impl FnOnce(&Stage<'_, B>, &str) -> B::Subscription,
    start: impl FnOnce(&str, &Path) -> WorkerProcess,
    mut switch: impl FnMut(bool),
    tellable: Tellable,
) -> (Sends, bool) {
    let run = Run::begin(broker, "G6", Demands::new().duplicates(duplicates));
    let mut stage = Stage::new(broker);
    let topic = stage.topic(1).await;
    let handled = Arc::<AtomicU64>::default();
    let state = (run.clone(), handled.clone());
    let stack = move || handler_with(state.clone(), note);
    let handle = stage.spawn(Worker::new("w", subscribe(&stage, &topic), stack).in_flight(64));
    let process = start(&topic, run.folder());
    let (over, away) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
    let unready = away.clone();
    let tellable = move || if unready.load(SeqCst) { tellable } else { Error::is_retriable as Tellable };
    let mut told = true;
    let publisher = stage.publisher(&topic);
    let publishing = tokio::spawn(send_until_over(publisher, run.clone(), 0.., PACE, over.clone(), tellable));
    for outage in [5, 30].map(Duration::from_secs) {
        let before = handled.load(SeqCst);
        until("it works", || handled.load(SeqCst) > before + 50).await;
        away.store(true, SeqCst);
        switch(false);
        tokio::time::sleep(RECEIVED).await;
        let cpu = process.cpu();
        tokio::time::sleep(outage - RECEIVED).await;
        if let (Some(before), Some(after)) = (cpu, process.cpu()) {
            let share = (after - before).as_secs_f64() / (outage - RECEIVED).as_secs_f64();
            println!("CPU of a worker without its server for {outage:?}: {:.1} % of a core", share * 100.0);
            assert!(share < CPU, "{share} of a core, for nothing");
        }
        told &= handle.status().reconnecting;
        let before = handled.load(SeqCst);
        switch(true);
        away.store(false, SeqCst);
        let ready = Instant::now();
        until("a message is handled again", || handled.load(SeqCst) > before).await;
        println!("first message {:?} after the server was back", ready.elapsed());
        assert!(ready.elapsed() < HEALED, "{:?}", ready.elapsed());
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    over.store(true, SeqCst);
    let sends = within("all sends", publishing).await.unwrap();
    println!("{sends:?}");
    within("everything is handled", async {
        while run.row().lost > 0 || !broker.is_all_done(&topic, "", 0).await {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })
    .await;
    process.stop().await;
    stage.end().await;
    println!("{}", run.conclude());
    (sends, told)
}

async fn note(message: Message, State((run, handled)): State<(Run, Arc<AtomicU64>)>) {
    run.record(Entry::new(Ev::Finished, number(&message)));
    handled.fetch_add(1, SeqCst);
}
