//! G11: a backlog that is not handled stays with the broker.

use std::time::Duration;
use throughline::{Message, Telemetry};
use throughline_test::Demands;
use throughline_tests::{
    WorkerProcess, by_tier,
    kafka::{Cluster, Crew},
};

const SIZE: usize = 1_024;
const IN_FLIGHT: usize = 256;
const MIB: u64 = 1024 * 1024;
/// Beside what runs: the client's queue of 16 MiB, the worker's buffer of 32 MiB, and what the allocator makes of them.
const BOUND: u64 = 64 * MIB + IN_FLIGHT as u64 * (SIZE as u64 + 2_048);
/// At its end, the time in which memory must not grow by more than a few pages here and there.
const FLAT: Duration = Duration::from_secs(20);
const FLAT_BY: u64 = 2 * MIB;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_stays_bounded_with_1_partition() {
    flood(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_stays_bounded_with_9_partitions() {
    flood(9).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_stays_bounded_with_64_partitions() {
    flood(64).await;
}

async fn flood(partitions: u32) {
    let messages = by_tier(500_000, 2_000_000);
    // For how long no handler ends.
    let held = Duration::from_secs(by_tier(30, 300));
    let demands = Demands::new().ids(messages).duplicates(0);
    let crew = Crew::gather(&Cluster::new(), "G11", partitions, demands).await;
    let (in_flight, hold) = (IN_FLIGHT.to_string(), held.as_millis().to_string());
    let options = ["--in-flight", &in_flight, "--hold-ms", &hold];
    // What a worker takes that has joined its group and found nothing to do.
    let idle = crew.worker(&options);
    let base = *watch(&idle, Duration::from_secs(3)).await.last().unwrap();
    idle.stop().await;
    let message =
        |id: u64| Message::new(format!("{id:<width$}", width = SIZE)).with_key((id % 997).to_string());
    crew.publish(&Telemetry::off(), 0..messages, Duration::ZERO, message).await;

    let worker = crew.worker(&options);
    let resident = watch(&worker, held).await;
    let most = *resident.iter().max().unwrap();
    let last = &resident[resident.len() * (held - FLAT).as_millis() as usize / held.as_millis() as usize..];
    // What the allocator gives back is no growth.
    let least = last.iter().scan(u64::MAX, |least, now| {
        *least = (*least).min(*now);
        Some(*least)
    });
    let grew = last.iter().zip(least).map(|(now, least)| now - least).max().unwrap();
    println!(
        "{partitions} partitions: {} MiB idle, {} MiB at most, {} KiB more in the last {FLAT:?}",
        base / MIB,
        most / MIB,
        grew / 1024
    );
    assert!(crew.committed().await.values().sum::<i64>() == 0, "nothing was done meanwhile");
    assert!(most < base + BOUND, "{most} bytes, {base} before");
    assert!(grew < FLAT_BY, "{last:?}");
    crew.wait_for_commits(messages).await;
    worker.stop().await;
    crew.conclude();
}

/// The resident memory of the process, looked at for so long.
async fn watch(worker: &WorkerProcess, time: Duration) -> Vec<u64> {
    let mut seen = Vec::new();
    let mut look = tokio::time::interval(Duration::from_millis(250));
    for _ in 0..time.as_millis() / 250 {
        look.tick().await;
        seen.push(worker.resident().expect("this test reads /proc"));
    }
    seen
}
