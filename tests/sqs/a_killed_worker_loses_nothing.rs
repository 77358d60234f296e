//! G5, G4 and G1, with processes.

use crate::site::{Account, endpoint};
use std::{
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use throughline::{Publisher, Telemetry};
use throughline_test::{Demands, conformance::Broker};
use throughline_tests::{
    Run, WorkerProcess, Workforce,
    a_killed_worker_loses_nothing::{
        each_member_joins_and_nothing_is_lost, graceful_stops_at_random_points_lose_and_double_nothing,
        many_kills_lose_nothing_and_break_no_edge,
    },
    by_tier, publish_numbers, within,
};

/// What a killed worker may have done without a delete: in flight (64), and answers that were not confirmed (1,000).
const DUPLICATES_PER_KILL: u64 = 64 + 1_000;

/// A queue and its worker processes.
struct Crew {
    broker: Account,
    queue: String,
    run: Run,
    published: AtomicU64,
}

impl Crew {
    async fn gather(guarantee: &str, demands: Demands) -> Crew {
        let broker = Account::new();
        let queue = broker.fresh_name(guarantee);
        broker.create_topic(&queue, 1).await.unwrap();
        let run = Run::begin(&broker, guarantee, demands);
        Crew { broker, queue, run, published: AtomicU64::new(0) }
    }
}

impl Workforce for Crew {
    fn run(&self) -> &Run {
        &self.run
    }

    fn start(&self, spans: Option<&Path>) -> WorkerProcess {
        let folder = self.run.folder().to_str().unwrap().to_owned();
        let spans = spans.map(|path| path.to_str().unwrap().to_owned());
        let words: Vec<_> = [endpoint(), self.queue.clone(), folder].into_iter().chain(spans).collect();
        WorkerProcess::start("sqs_worker", &words)
    }

    async fn publish(&self, telemetry: &Telemetry, messages: u64) {
        let publisher = Publisher::with_telemetry(self.broker.sink(&self.queue), telemetry);
        let so_far = |published| self.published.store(published, Ordering::SeqCst);
        publish_numbers(&publisher, &self.run, messages, so_far).await;
    }

    async fn wait_until_done(&self, messages: u64) {
        within("the queue shrinks", async {
            loop {
                // Before the count, else what came in between would look done.
                let published = self.published.load(Ordering::SeqCst);
                let left = self.broker.counts(&self.queue).await.iter().sum::<u64>();
                if published >= left + messages {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_kills() {
    let (messages, kills) = (20_000, by_tier(10, 500));
    let demands =
        Demands::new().ids(messages).kills(kills).duplicates(0).duplicates_per_kill(DUPLICATES_PER_KILL);
    many_kills_lose_nothing_and_break_no_edge(&Crew::gather("G5", demands).await, messages, kills).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn graceful_stops() {
    let messages = by_tier(20_000, 125_000);
    let crew = Crew::gather("G4", Demands::new().ids(messages).duplicates(0)).await;
    graceful_stops_at_random_points_lose_and_double_nothing(&crew, messages).await;
}

/// Members come one after the other, and nobody is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_join_lose_nothing() {
    let messages = by_tier(20_000, 200_000);
    let crew = Crew::gather("G1", Demands::new().ids(messages).duplicates(0)).await;
    each_member_joins_and_nothing_is_lost(&crew, messages).await;
}
