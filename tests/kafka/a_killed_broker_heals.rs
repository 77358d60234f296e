//! G6: the broker's process is killed for 5 s and for 30 s on the way, and started again on the same log. The one test of its
//! process, since a drain flushes every publisher of it, and would wait for this one's.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says that it failed by a panic")]
#![allow(clippy::print_stdout, reason = "figures are shown")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use throughline::{Error, Publisher, Telemetry, kafka::Kafka};
use throughline_test::{Demands, Ev};
use throughline_tests::{
    Tellable, by_tier, eventually,
    kafka::{Cluster, Crew},
    send_until_over, within,
};
use tokio::task::block_in_place;
use xtask::OwnKafka;

/// One commit interval of 200 ms at the pace of the test, for both outages, with much to spare.
const DUPLICATES: u64 = 1_000;
/// After the broker answers, until a worker handles something again.
const HEALED: Duration = Duration::from_secs(5);
/// Of one core, while there is no broker.
const CPU: f64 = 0.05;
/// What was read ahead is handled within this after the broker's end.
const READ_AHEAD: Duration = Duration::from_secs(2);
/// Between two messages of a publisher.
const PACE: Duration = Duration::from_millis(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_and_every_failed_send_is_told() {
    let mut broker = block_in_place(|| OwnKafka::builder().start()).unwrap();
    let cluster = Cluster::at(broker.address());
    let crew = Crew::gather(&cluster, "G6", 6, Demands::new().duplicates(DUPLICATES)).await;
    let worker = crew.worker(&[]);
    let over = Arc::<AtomicBool>::default();
    // One that waits for the broker as long as is usual, and one that gives up soon.
    let send = |kafka: Kafka, first: u64| {
        let publisher = Publisher::with_telemetry(kafka.topic(&crew.topic), &Telemetry::off());
        let ids = (first..).step_by(2);
        let retriable: fn() -> Tellable = || Error::is_retriable;
        tokio::spawn(send_until_over(publisher, crew.run.clone(), ids, PACE, over.clone(), retriable))
    };
    let patient = send(cluster.kafka().clone(), 0);
    let hasty = Cluster::at(broker.address());
    let hasty = send(hasty.kafka().clone().set("message.timeout.ms", "3000"), 1);

    for outage in [5, by_tier(30, 90)].map(Duration::from_secs) {
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(crew.run.row().ids > 0, "it works");
        let killed = now();
        block_in_place(|| broker.kill());
        tokio::time::sleep(READ_AHEAD).await;
        let before = worker.cpu();
        tokio::time::sleep(outage - READ_AHEAD).await;
        if let (Some(before), Some(after)) = (before, worker.cpu()) {
            let share = (after - before).as_secs_f64() / (outage - READ_AHEAD).as_secs_f64();
            println!("CPU of a worker without its broker for {outage:?}: {:.1} % of a core", share * 100.0);
            assert!(share < CPU, "{share} of a core, for nothing");
        }
        block_in_place(|| broker.restart()).unwrap();
        let ready = now();
        let later = killed + READ_AHEAD.as_nanos() as u64;
        let first =
            || async { crew.entries().into_iter().find(|entry| entry.ev == Ev::Finished && entry.t > later) };
        let first = eventually("a message is handled again", first, Option::is_some).await.unwrap();
        let after = Duration::from_nanos(first.t.saturating_sub(ready));
        println!("first message {after:?} after the broker was ready");
        assert!(after < HEALED, "{after:?}");
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    over.store(true, Ordering::SeqCst);
    let (patient, hasty) =
        (within("all sends", patient).await.unwrap(), within("all sends", hasty).await.unwrap());
    println!("patient: {patient:?}, hasty: {hasty:?}");
    assert_eq!(patient.failed, 0, "a broker that comes back within the time of a message costs none");
    assert!(hasty.failed > 0, "30 s are more than 3 s");
    crew.wait_until_all_is_handled().await;
    worker.stop().await;
    crew.conclude();
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64
}
