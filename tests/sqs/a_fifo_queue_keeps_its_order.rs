//! FIFO queues: order within a group, whatever fails, and dead letters that keep it. FC-28.

use crate::site::{Account, client};
use aws_sdk_sqs::types::QueueAttributeName;
use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};
use throughline::{
    BoxError, DeadLetter, Message, Publisher, Redelay, Rejected, State, Subscription, Worker, handler,
    handler_with,
};
use throughline_test::conformance::{Broker, Start};
use throughline_tests::{Inbox, Stage, Told, until};

const GROUPS: u64 = 20;
const OF_EACH: u64 = 10;

async fn fifo(broker: &Account) -> String {
    let name = format!("{}.fifo", broker.fresh_name("queue"));
    let create = client().create_queue().queue_name(&name).attributes(QueueAttributeName::FifoQueue, "true");
    create.send().await.unwrap();
    name
}

fn subscription(broker: &Account, queue: &str) -> impl Subscription + use<> {
    broker.subscription(queue, "", Start::Earliest)
}

/// Twenty groups of ten, every second group fails at two of its messages: each group is done in order and never two of it at once;
/// a group that waits for its failed message holds no other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_message_holds_its_group_and_nobody_else() {
    let broker = Account::new();
    let mut stage = Stage::new(&broker);
    let queue = fifo(&broker).await;
    let messages = (0..GROUPS * OF_EACH).map(|id| Message::new(id.to_string()).with_key(group(id)));
    let publisher = stage.publisher(&queue);
    // One after the other, as their order is what counts.
    for message in messages {
        publisher.send(message).await.unwrap();
    }
    let (told, mut inbox) = Inbox::new();
    let state = (told, Arc::<Mutex<Seen>>::default());
    let seen = state.1.clone();
    let worker = Worker::new("w", subscription(&broker, &queue), move || handler_with(state.clone(), handle));
    let redelay = Redelay::exponential(Duration::from_secs(1), Duration::from_secs(1));
    let handle = stage.spawn(worker.in_flight(64).redelay(redelay));
    inbox.take((GROUPS * OF_EACH) as usize).await;
    until("all are counted", || handle.status().counts.acked == GROUPS * OF_EACH).await;
    stage.end().await;
    assert_eq!(broker.counts(&queue).await, [0; 3]);
    let seen = seen.lock().unwrap();
    assert!(!seen.overlapped, "two of a group at once");
    for (group, done) in &seen.done {
        let expected: Vec<u64> = (0..OF_EACH).map(|n| n * GROUPS + group).collect();
        assert_eq!(*done, expected, "group {group}");
    }
    assert!(!seen.failed.is_empty());
}

fn group(id: u64) -> String {
    format!("group-{}", id % GROUPS)
}

#[derive(Default)]
struct Seen {
    running: HashSet<u64>,
    overlapped: bool,
    failed: HashSet<u64>,
    done: BTreeMap<u64, Vec<u64>>,
}

async fn handle(
    message: Message,
    State((told, seen)): State<(Told, Arc<Mutex<Seen>>)>,
) -> Result<(), BoxError> {
    let id: u64 = std::str::from_utf8(message.payload())?.parse()?;
    {
        let mut seen = seen.lock().unwrap();
        let fresh = seen.running.insert(id % GROUPS);
        seen.overlapped |= !fresh;
    }
    tokio::time::sleep(Duration::from_millis(fastrand::u64(..5))).await; // the work
    let mut seen = seen.lock().unwrap();
    seen.running.remove(&(id % GROUPS));
    // Only even groups fail, so that there are some that nothing holds.
    if id.is_multiple_of(2) && (id / GROUPS) % 5 == 1 && seen.failed.insert(id) {
        return Err("again".into());
    }
    seen.done.entry(id % GROUPS).or_default().push(id);
    drop(seen);
    told.tell(message);
    Ok(())
}

/// FC-28: two rejected messages of one group with equal payloads go to a FIFO dead-letter queue: both arrive in their
/// group, by ids of their own; only then they are deleted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_poison_messages_reach_a_fifo_dead_letter_queue() {
    let broker = Account::new();
    let mut stage = Stage::new(&broker);
    let (queue, letters) = (fifo(&broker).await, fifo(&broker).await);
    let dead = DeadLetter::to(Publisher::with_telemetry(broker.sink(&letters), &stage.telemetry));
    let reject = || handler(|| async { Rejected::new("never") });
    stage.spawn(Worker::new("w", subscription(&broker, &queue), reject).dead_letter(dead));
    let (told, mut inbox) = Inbox::new();
    stage.spawn(Worker::new("letters", subscription(&broker, &letters), move || {
        handler_with(told.clone(), note)
    }));
    for _ in 0..2 {
        stage.publisher(&queue).send(Message::new("poison").with_key("g1")).await.unwrap();
    }
    let parked = inbox.take(2).await;
    for letter in &parked {
        assert_eq!(letter.key().map(|key| &key[..]), Some(&b"g1"[..]));
        let reason = letter.headers().get("throughline-dead-letter-reason").unwrap();
        assert_eq!(&reason[..], b"message rejected: never");
    }
    let id = |letter: &Message| {
        letter.extensions().get::<throughline::sqs::SqsMetadata>().unwrap().deduplication_id.clone().unwrap()
    };
    assert_ne!(id(&parked[0]), id(&parked[1]));
    stage.drain().await;
    assert_eq!(broker.counts(&queue).await, [0; 3]);
    let error = stage.publisher(&queue).send(Message::new("no group")).await.unwrap_err();
    assert!(error.to_string().contains("key"), "{error}");
}

async fn note(message: Message, State(told): State<Told>) {
    told.tell(message);
}
