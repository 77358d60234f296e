//! G5 and G4, with processes.

use throughline::Telemetry;
use throughline_test::Demands;
use throughline_tests::{
    Workforce,
    a_killed_worker_loses_nothing::{
        graceful_stops_at_random_points_lose_and_double_nothing, many_kills_lose_nothing_and_break_no_edge,
    },
    by_tier,
    kafka::{Cluster, Crew, Keyed},
};

/// What a killed worker may have done without a commit: in flight and buffer (64 + 256), and what it can do within a
/// commit interval of 200 ms on a fast machine.
const DUPLICATES_PER_KILL: u64 = 320 + 20_000;

const PARTITIONS: u32 = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_workers_is_killed_among_200_000_messages() {
    let messages = by_tier(200_000, 1_000_000);
    let crew = crew("G5", demands(messages, 1), 997, &[]).await;
    let [survivor, victim] = [crew.start(None), crew.start(None)];
    let kill = async {
        crew.wait_until_done(messages / 10).await;
        crew.crew.kill(victim);
        crew.start(None)
    };
    let untraced = Telemetry::off();
    let (next, ()) = tokio::join!(kill, crew.publish(&untraced, messages));
    crew.wait_until_done(messages).await;
    survivor.stop().await;
    next.stop().await;
    crew.crew.conclude();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_kills() {
    let kills = by_tier(30, 500);
    let crew = crew("G5", demands(20_000, kills), 997, &[]).await;
    many_kills_lose_nothing_and_break_no_edge(&crew, 20_000, kills).await;
}

/// Few keys and handlers that take their time make long lanes: what waits in one holds the commit below what is done in
/// another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn graceful_stops() {
    let messages = by_tier(125_000, 500_000);
    let crew = crew("G4", demands(messages, 0), 61, &["--handler-ms", "3"]).await;
    graceful_stops_at_random_points_lose_and_double_nothing(&crew, messages).await;
}

async fn crew(guarantee: &str, demands: Demands, keys: u64, options: &[&str]) -> Keyed {
    let options = options.iter().map(|word| (*word).to_owned()).collect();
    Keyed { crew: Crew::gather(&Cluster::new(), guarantee, PARTITIONS, demands).await, keys, options }
}

fn demands(ids: u64, kills: u64) -> Demands {
    Demands::new().ids(ids).kills(kills).duplicates(0).duplicates_per_kill(DUPLICATES_PER_KILL)
}
