//! G1: members join a group that is at work.

use std::time::Duration;
use throughline::{Message, Telemetry};
use throughline_test::Demands;
use throughline_tests::{
    by_tier,
    kafka::{Cluster, Crew},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_join_and_only_what_moves_is_stopped() {
    three_join(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_join_and_everything_is_stopped() {
    three_join(&["--eager"]).await;
}

/// Joining at 0, 2 and 4 s while the messages come in for 6 s.
async fn three_join(options: &[&str]) {
    let messages = by_tier(200_000, 1_000_000);
    let crew = Crew::gather(&Cluster::new(), "G1", 6, Demands::new().ids(messages)).await;
    let publishing = {
        let crew = crew.clone();
        let pause = Duration::from_secs(6).div_f64(messages as f64 / 1_000.0);
        let message = |id: u64| Message::new(id.to_string()).with_key((id % 997).to_string());
        tokio::task::spawn(async move { crew.publish(&Telemetry::off(), 0..messages, pause, message).await })
    };
    let mut workers = Vec::new();
    for _ in 0..3 {
        workers.push(crew.worker(options));
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    publishing.await.unwrap();
    crew.wait_for_commits(messages).await;
    for worker in workers {
        worker.stop().await;
    }
    crew.conclude();
}
