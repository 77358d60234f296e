//! Worker processes of one group, a ledger that all of them write, and what a test does to them.

use super::{Cluster, commits};
use crate::{LONG, Run, Site, WorkerProcess, eventually};
use std::{collections::BTreeMap, time::Duration};
use throughline::{Message, Publisher, Telemetry};
use throughline_test::{Demands, Entry, Ev, conformance::Broker, entries};

/// How many messages are published at once.
const CHUNK: usize = 1_000;

/// A topic and its group of worker processes. The group has the name of the topic.
#[derive(Clone, Debug)]
pub struct Crew {
    /// Where they work.
    pub cluster: Cluster,
    /// What they consume.
    pub topic: String,
    /// What they write.
    pub run: Run,
}

impl Crew {
    /// On a fresh topic, with nobody there yet.
    pub async fn gather(cluster: &Cluster, guarantee: &str, partitions: u32, demands: Demands) -> Crew {
        let topic = cluster.fresh_name(guarantee);
        cluster.create_topic(&topic, partitions).await.unwrap();
        Crew { cluster: cluster.clone(), topic, run: Run::begin(cluster, guarantee, demands) }
    }

    /// Starts one more, with options of `kafka_worker`.
    pub fn worker(&self, options: &[&str]) -> WorkerProcess {
        let folder = self.run.folder().to_str().unwrap();
        let servers = self.cluster.servers();
        let own = ["--servers", servers, "--topic", &self.topic, "--group", &self.topic, "--ledger", folder];
        let arguments: Vec<_> = own.iter().chain(options).map(|word| (*word).to_owned()).collect();
        WorkerProcess::start("kafka_worker", &arguments)
    }

    /// SIGKILL, written down.
    pub fn kill(&self, mut worker: WorkerProcess) {
        worker.kill();
        self.run.record(Entry::killed(worker.id()));
    }

    /// Publishes messages whose payload begins with their number, and writes down what was acknowledged. Waits for
    /// `pause` after each thousand.
    pub async fn publish(
        &self,
        telemetry: &Telemetry,
        ids: std::ops::Range<u64>,
        pause: Duration,
        message: impl Fn(u64) -> Message,
    ) {
        let publisher = Publisher::with_telemetry(self.cluster.sink(&self.topic), telemetry);
        let ids: Vec<u64> = ids.collect();
        for chunk in ids.chunks(CHUNK) {
            let messages: Vec<_> = chunk.iter().map(|id| message(*id)).collect();
            let keys: Vec<_> = messages.iter().map(|message| message.key().cloned()).collect();
            let receipts = publisher.send_all(messages).await;
            for ((receipt, key), id) in receipts.into_iter().zip(keys).zip(chunk) {
                let receipt = receipt.unwrap();
                let entry = Entry::new(Ev::Produced, *id);
                let entry = entry.at(receipt.partition.unwrap(), receipt.offset.unwrap());
                self.run.record(match &key {
                    Some(key) => entry.key(std::str::from_utf8(key).unwrap()),
                    None => entry,
                });
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Publishes bare numbers at once, in turn to the partitions 0 and 1.
    pub async fn publish_to_both(&self, ids: std::ops::Range<u64>) {
        let message = |id: u64| Message::new(id.to_string()).with_partition(i32::try_from(id % 2).unwrap());
        self.publish(&Telemetry::off(), ids, Duration::ZERO, message).await;
    }

    /// Until the group has committed so many messages in all.
    pub async fn wait_for_commits(&self, messages: u64) {
        let deadline = tokio::time::Instant::now() + 3 * LONG;
        loop {
            let done = self.committed().await.values().sum::<i64>();
            if done >= messages as i64 {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "{done} of {messages} after three minutes");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Until everything that was acknowledged to the producer is handled.
    pub async fn wait_until_all_is_handled(&self) {
        let lost = || async { self.run.row().lost };
        eventually("everything is handled", lost, |lost| *lost == 0).await;
    }

    /// Where the group is.
    pub async fn committed(&self) -> BTreeMap<i32, i64> {
        self.cluster.committed(&self.topic, &self.topic).await
    }

    /// How many messages this process has handled.
    pub fn finished_by(&self, process: u32) -> usize {
        self.entries().iter().filter(|entry| entry.ev == Ev::Finished && entry.pid == process).count()
    }

    /// What all processes wrote so far.
    pub fn entries(&self) -> Vec<Entry<'static>> {
        entries(self.run.folder()).unwrap()
    }

    /// Writes every commit that the broker took from the group into the ledger, with its time.
    pub async fn write_down_commits(&self) {
        for commit in commits(&self.cluster, &self.topic, &self.topic).await {
            // The broker's times are cut to milliseconds: at the next one at the latest, all that was finished before
            // the commit has been written down.
            let nanos = (commit.millis + 1) * 1_000_000;
            self.run.record(Entry::committed(commit.partition, commit.offset).by(nanos, std::process::id()));
        }
    }

    /// Prints the row and judges it.
    #[allow(clippy::print_stdout, reason = "the row is shown")]
    pub fn conclude(&self) {
        println!("{}", self.run.conclude());
    }
}
