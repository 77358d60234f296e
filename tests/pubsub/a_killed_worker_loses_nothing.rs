//! G5, G4 and G1, with processes.

use crate::site::{Project, address};
use std::{
    path::Path,
    time::{Duration, Instant},
};
use throughline::{Publisher, Telemetry};
use throughline_test::{Demands, conformance::Broker};
use throughline_tests::{
    LONG, Run, WorkerProcess, Workforce,
    a_killed_worker_loses_nothing::{
        each_member_joins_and_nothing_is_lost, graceful_stops_at_random_points_lose_and_double_nothing,
        many_kills_lose_nothing_and_break_no_edge,
    },
    by_tier, publish_numbers,
};

const MESSAGES: u64 = 20_000;
/// What a killed worker may have done without an acknowledgement: in flight (64), and answers that were not confirmed
/// (1,000).
const DUPLICATES_PER_KILL: u64 = 64 + 1_000;
/// Between two looks at the ledger, which costs to read.
const LOOK: Duration = Duration::from_secs(1);

/// A subscription and its worker processes.
struct Crew {
    broker: Project,
    topic: String,
    run: Run,
}

impl Crew {
    async fn gather(guarantee: &str, demands: Demands) -> Crew {
        let broker = Project::new();
        let topic = broker.fresh_name(guarantee);
        // Without an order, so that workers may have several streams, and share.
        broker.create(&topic, |new| new).await.unwrap();
        let run = Run::begin(&broker, guarantee, demands);
        Crew { broker, topic, run }
    }
}

impl Workforce for Crew {
    fn run(&self) -> &Run {
        &self.run
    }

    fn start(&self, spans: Option<&Path>) -> WorkerProcess {
        let folder = self.run.folder().to_str().unwrap().to_owned();
        let spans = spans.map(|path| path.to_str().unwrap().to_owned());
        let words = [address(), Project::subscription_of(&self.topic), folder];
        WorkerProcess::start("pubsub_worker", &words.into_iter().chain(spans).collect::<Vec<_>>())
    }

    async fn publish(&self, telemetry: &Telemetry, messages: u64) {
        let publisher = Publisher::with_telemetry(self.broker.sink(&self.topic), telemetry);
        publish_numbers(&publisher, &self.run, messages, |_| {}).await;
    }

    /// The server tells nobody how many are left: the ledger has to do.
    async fn wait_until_done(&self, messages: u64) {
        let (mut done, mut since) = (0, Instant::now());
        while done < messages {
            tokio::time::sleep(LOOK).await;
            let row = self.run.row();
            let now = row.ids - row.lost;
            if now > done {
                (done, since) = (now, Instant::now());
            }
            assert!(since.elapsed() < LONG, "{done} of {messages} are done, and no more for {LONG:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_kills() {
    let kills = by_tier(10, 500);
    let demands =
        Demands::new().ids(MESSAGES).kills(kills).duplicates(0).duplicates_per_kill(DUPLICATES_PER_KILL);
    let crew = Crew::gather("G5", demands).await;
    many_kills_lose_nothing_and_break_no_edge(&crew, MESSAGES, kills).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn graceful_stops() {
    let messages = by_tier(MESSAGES, 125_000);
    let crew = Crew::gather("G4", Demands::new().ids(messages).duplicates(0)).await;
    graceful_stops_at_random_points_lose_and_double_nothing(&crew, messages).await;
}

/// Members come one after the other, and nobody is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_join_lose_nothing() {
    let messages = by_tier(MESSAGES, 200_000);
    let crew = Crew::gather("G1", Demands::new().ids(messages).duplicates(0)).await;
    each_member_joins_and_nothing_is_lost(&crew, messages).await;
}
