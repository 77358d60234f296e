//! FC-07, FC-09, FC-11: what becomes of a member's work, permits and pauses when a partition goes to another member, and
//! comes back.
//!
//! Members of the `range` assignment get their partitions in the order of their ids, which begin with their `client.id`:
//! so it is known which partition goes where.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use throughline::{
    Message, Ordering, State, Worker, handler_with,
    kafka::{Assignment, KafkaSubscription},
};
use throughline_test::{Expect, Kind, Outcome};
use throughline_tests::{
    Stage,
    kafka::{Cluster, commits},
    until,
};
use tokio::sync::Semaphore;

/// How long a member may take to finish what moves.
const REVOKE: Duration = Duration::from_secs(2);
/// After that, until things flow.
const FLOWS: Duration = Duration::from_secs(5);

/// The member that is there first, and keeps the last partitions when another comes.
const FIRST: &str = "z";
/// The member that comes later, and gets the first partitions.
const LATER: &str = "a";

fn member(cluster: &Cluster, name: &str, topic: &str) -> KafkaSubscription {
    let kafka = cluster.kafka().clone().set("client.id", name);
    let subscription = kafka.group(Stage::<Cluster>::group(topic)).topic(topic).assignment(Assignment::Eager);
    subscription.revoke_timeout(REVOKE).commit_interval(Duration::from_millis(50))
}

/// FC-07: what was fetched before the partition moved is not handled after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_starts_at_the_old_owner_once_the_new_one_has_begun() {
    #[derive(Default)]
    struct Starts(Mutex<Vec<(&'static str, String)>>);
    impl Starts {
        fn of(&self, name: &str) -> usize {
            self.0.lock().unwrap().iter().filter(|(by, _)| *by == name).count()
        }
    }
    async fn slowly(message: Message, State((name, starts)): State<(&'static str, Arc<Starts>)>) {
        let id = String::from_utf8(message.payload().to_vec()).unwrap();
        starts.0.lock().unwrap().push((name, id));
        tokio::time::sleep(Duration::from_millis(20)).await; // the work
    }
    let cluster = Cluster::new();
    let (mut old, mut new) = (Stage::new(&cluster), Stage::new(&cluster));
    let topic = old.topic(1).await;
    let messages = (0..2_000).map(|id| Message::new(id.to_string()).with_key((id % 10).to_string()));
    assert!(old.publisher(&topic).send_all(messages).await.iter().all(Result::is_ok));
    let starts = Arc::<Starts>::default();
    let worker = |name: &'static str| {
        let state = (name, starts.clone());
        let stack = move || handler_with(state.clone(), slowly);
        Worker::new(name, member(&cluster, name, &topic), stack).in_flight(1)
    };
    old.spawn(worker(FIRST));
    until("the first is at work", || starts.of(FIRST) >= 20).await;
    new.spawn(worker(LATER));
    until("the other has taken over", || starts.of(LATER) >= 100).await;

    let seen = starts.0.lock().unwrap().clone();
    let moved = seen.iter().position(|(name, _)| *name == LATER).unwrap();
    assert!(seen[moved..].iter().all(|(name, _)| *name == LATER), "the first owner started one more");
    let mut ids: Vec<_> = seen.iter().map(|(_, id)| id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), seen.len(), "none is handled twice");
    old.drain().await;
    new.drain().await;
    let commits = commits(&cluster, &Stage::<Cluster>::group(&topic), &topic).await;
    assert!(commits.is_sorted_by_key(|commit| commit.offset), "{commits:?}");
}

/// Messages that say `hold` wait for a permit of the member's own gate; each that is done is counted.
#[derive(Clone)]
struct Gate {
    open: Arc<Semaphore>,
    done: Arc<Mutex<Vec<i32>>>,
}

impl Gate {
    fn shut() -> Gate {
        Gate { open: Arc::new(Semaphore::new(0)), done: Arc::default() }
    }

    fn open(&self) {
        self.open.add_permits(Semaphore::MAX_PERMITS / 2);
    }

    fn done(&self, partition: i32) -> usize {
        self.done.lock().unwrap().iter().filter(|done| **done == partition).count()
    }

    fn worker(&self, subscription: KafkaSubscription, in_flight: usize) -> Worker {
        let gate = self.clone();
        let stack = move || handler_with(gate.clone(), Gate::pass);
        Worker::new("w", subscription, stack).in_flight(in_flight).ordering(Ordering::None)
    }

    async fn pass(message: Message, State(gate): State<Gate>) {
        if &message.payload()[..] == b"hold" {
            gate.open.acquire().await.unwrap().forget();
        }
        gate.done.lock().unwrap().push(message.origin().unwrap().partition.unwrap());
    }
}

async fn publish(stage: &Stage<'_, Cluster>, topic: &str, partition: i32, what: &'static str, count: usize) {
    let messages = (0..count).map(|_| Message::new(what).with_partition(partition));
    assert!(stage.publisher(topic).send_all(messages).await.iter().all(Result::is_ok));
}

/// FC-09: what was lost with a partition no longer counts against the limits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_partition_gives_its_permits_back() {
    let cluster = Cluster::new();
    let (mut old, mut new) = (Stage::new(&cluster), Stage::new(&cluster));
    let topic = old.topic(2).await;
    let (gate, others) = (Gate::shut(), Gate::shut());
    others.open();
    publish(&old, &topic, 0, "hold", 50).await;
    let handle = old.spawn(gate.worker(member(&cluster, FIRST, &topic), 10));
    until("p0 holds all that it may", || handle.status().in_flight == 9).await;
    let since = Instant::now();
    new.spawn(others.worker(member(&cluster, LATER, &topic), 10));
    publish(&old, &topic, 1, "go", 100).await;
    until("p1 is handled", || gate.done(1) + others.done(1) == 100).await;
    until("nothing of p0 runs", || handle.status().in_flight == 0).await;
    assert!(since.elapsed() < REVOKE + FLOWS, "{:?}", since.elapsed());
    assert_eq!(handle.status().counts.cancelled, 9);
    until("p0 is handled by its new owner", || others.done(0) == 50).await;
    publish(&old, &topic, 1, "hold", 10).await;
    until("all permits can be had", || handle.status().in_flight == 10).await;
    gate.open();
    until("they are done", || handle.status().in_flight == 0).await;
    new.drain().await;
    let graph = old.end().await;
    graph.check(&Expect::new().sends(160)).unwrap();
    let spans = graph.spans().iter().filter(|span| span.kind == Kind::Consumer);
    let failed = spans.filter(|span| matches!(span.status, Outcome::Error(_)));
    let failed: Vec<_> = failed.map(|span| span.text("error.type")).collect();
    assert_eq!(failed, vec![Some("cancelled".to_owned()); 9], "each cancelled handler's span has ended");
}

/// FC-11: a partition that was paused for want of room, lost, and assigned again is not paused for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_was_paused_flows_when_it_returns() {
    const MESSAGES: usize = 500;
    let cluster = Cluster::new();
    let (mut old, mut new) = (Stage::new(&cluster), Stage::new(&cluster));
    let topic = old.topic(2).await;
    let gate = Gate::shut();
    publish(&old, &topic, 0, "hold", MESSAGES).await;
    let handle = old.spawn(gate.worker(member(&cluster, FIRST, &topic), 2));
    until("it is at work", || handle.status().in_flight > 0).await;
    // It is paused once its share of the buffer has been full for 100 ms.
    let mut full = (0, Instant::now());
    while full.0 == 0 || full.1.elapsed() < Duration::from_secs(1) {
        let received = handle.status().counts.received;
        if received != full.0 {
            full = (received, Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(full.0 < MESSAGES as u64 / 2, "{} received", full.0);
    let later = new.spawn(Gate::shut().worker(member(&cluster, LATER, &topic), 2));
    until("p0 has left", || handle.status().in_flight == 0).await;
    until("p0 has arrived", || later.status().in_flight > 0).await;
    // The other member's handlers never end, so its end is not clean.
    let _ = new.runtime().grace(Duration::from_secs(3)).until(std::future::ready(())).await;
    let since = Instant::now();
    gate.open();
    until("p0 flows", || gate.done(0) > 0).await;
    assert!(since.elapsed() < FLOWS, "{:?}", since.elapsed());
    until("all of it", || gate.done(0) == MESSAGES).await;
    old.drain().await;
}

/// FC-11: a worker that its user has paused stays so, for partitions that it kept and for those that it gained.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_worker_stays_paused_over_rebalances() {
    let cluster = Cluster::new();
    let (mut old, mut new) = (Stage::new(&cluster), Stage::new(&cluster));
    let topic = old.topic(2).await;
    let (gate, others) = (Gate::shut(), Gate::shut());
    let handle = old.spawn(gate.worker(member(&cluster, FIRST, &topic), 10));
    for partition in [0, 1] {
        publish(&old, &topic, partition, "go", 1).await;
        until("it owns both", || gate.done(partition) == 1).await;
    }
    handle.pause();
    new.spawn(others.worker(member(&cluster, LATER, &topic), 10));
    publish(&old, &topic, 0, "go", 10).await;
    publish(&old, &topic, 1, "go", 10).await;
    until("p0 has moved", || others.done(0) == 10).await;
    new.drain().await;
    publish(&old, &topic, 0, "go", 10).await;
    // Longer than p0 takes to come back.
    tokio::time::sleep(FLOWS).await;
    assert_eq!((gate.done(0), gate.done(1)), (1, 1), "paused is paused");
    handle.resume();
    let since = Instant::now();
    until("both flow", || gate.done(0) == 11 && gate.done(1) == 11).await;
    assert!(since.elapsed() < FLOWS, "{:?}", since.elapsed());
    old.drain().await;
}
