//! G7: members come and go all the time, with much in flight.

use std::{collections::VecDeque, time::Duration};
use throughline::{Message, Telemetry};
use throughline_test::Demands;
use throughline_tests::{
    by_tier,
    kafka::{Cluster, Crew},
};

const CHANGES: u32 = 20;
const STORM: Duration = Duration::from_secs(60);
/// A thousand a second; handlers take half a second on average, so that 500 are in flight.
const MESSAGES: u64 = 60_000;

/// 20 join and 20 leave within a minute: nothing is lost, no commit passes an open message, and none goes back, which is
/// what one from an old assignment would look like.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_join_and_leave_within_a_minute() {
    let minutes = by_tier(1, 15);
    let messages = MESSAGES * minutes;
    let crew = Crew::gather(&Cluster::new(), "G7", 6, Demands::new().ids(messages).commits()).await;
    let publishing = {
        let crew = crew.clone();
        let pause = Duration::from_millis(1_000);
        let message = |id: u64| Message::new(id.to_string()).with_key((id % 20_011).to_string());
        tokio::task::spawn(async move { crew.publish(&Telemetry::off(), 0..messages, pause, message).await })
    };
    let join = || crew.worker(&["--in-flight", "500", "--handler-ms", "1000"]);
    let mut members = VecDeque::from([join(), join()]);
    let mut change = tokio::time::interval(STORM / CHANGES / 2);
    for _ in 0..u64::from(CHANGES) * minutes {
        change.tick().await;
        members.push_back(join());
        change.tick().await;
        members.pop_front().unwrap().stop().await;
    }
    publishing.await.unwrap();
    crew.wait_for_commits(messages).await;
    for member in members {
        member.stop().await;
    }
    crew.write_down_commits().await;
    crew.conclude();
}
