//! FC-12: the broker answers nothing when the worker is told to stop. Its process ends in time, nothing in it is blocked
//! meanwhile, and its exit status says that not all was committed.

use std::time::Duration;
use throughline::{Message, Telemetry};
use throughline_test::Demands;
use throughline_tests::{
    eventually,
    kafka::{Cluster, Crew},
};
use tokio::task::block_in_place;
use xtask::OwnKafka;

const MESSAGES: u64 = 1_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_ends_in_time_and_says_what_is_missing() {
    let broker = block_in_place(|| OwnKafka::builder().start()).unwrap();
    let cluster = Cluster::at(broker.address());
    let demands = Demands::new().ids(MESSAGES).duplicates(MESSAGES);
    let crew = Crew::gather(&cluster, "FC-12", 3, demands).await;
    crew.publish(&Telemetry::off(), 0..MESSAGES, Duration::ZERO, |id| Message::new(id.to_string())).await;
    // Nothing is committed before the drain.
    let worker = crew.worker(&["--commit-interval-ms", "600000", "--grace-ms", "5000", "--ticker"]);
    crew.wait_until_all_is_handled().await;
    broker.freeze();
    let ended = worker.end().await;
    broker.thaw();
    println!("ended {:?} after SIGTERM, ticks late by at most {} ms", ended.after, ended.output.trim());
    assert!(ended.after < Duration::from_secs(6), "{ended:?}");
    assert_eq!(ended.status.code(), Some(1), "not all was committed");
    assert!(ended.output.trim().parse::<u64>().unwrap() < 1_000, "{ended:?}");

    let committed = crew.committed().await;
    assert!(committed.values().sum::<i64>() < MESSAGES as i64, "{committed:?}");
    let next = crew.worker(&[]);
    let all = |at: &std::collections::BTreeMap<i32, i64>| at.values().sum::<i64>() == MESSAGES as i64;
    eventually("the rest is committed", || crew.committed(), all).await;
    next.stop().await;
    crew.conclude();
}
