//! G5, G4 and G1, with processes.

use crate::site::{Account, endpoint};
use std::{
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use throughline::{Message, Publisher, Telemetry};
use throughline_test::{Demands, Entry, Ev, conformance::Broker};
use throughline_tests::{
    Run, WorkerProcess, Workforce,
    a_killed_worker_loses_nothing::{
        graceful_stops_at_random_points_lose_and_double_nothing, many_kills_lose_nothing_and_break_no_edge,
    },
    by_tier, within,
};

/// How many messages are published at once.
const CHUNK: u64 = 1_000;
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
        for first in (0..messages).step_by(CHUNK as usize) {
            let ids = first..messages.min(first + CHUNK);
            let receipts = publisher.send_all(ids.clone().map(|id| Message::new(id.to_string()))).await;
            for (id, receipt) in ids.clone().zip(receipts) {
                receipt.unwrap();
                self.run.record(Entry::new(Ev::Produced, id));
            }
            self.published.store(ids.end, Ordering::SeqCst);
        }
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
    let first = crew.start(None);
    let others = async {
        crew.wait_until_done(messages / 4).await;
        let second = crew.start(None);
        crew.wait_until_done(messages / 2).await;
        [second, crew.start(None)]
    };
    let untraced = Telemetry::off();
    let (others, ()) = tokio::join!(others, crew.publish(&untraced, messages));
    crew.wait_until_done(messages).await;
    for worker in [first].into_iter().chain(others) {
        worker.stop().await;
    }
    println!("{}", crew.run.conclude());
}
