//! Batches: their sizes, their order, and their spans edge by edge.

use crate::{
    Inbox, LONG, Site, Stage, Told,
    steps::{copy, creation, named, numbers, place},
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};
use throughline::{
    Batch, BatchPolicy, BoxError, Message, Ordering, Publisher, State, Worker, batch_handler_with,
};
use throughline_test::{Expect, Kind};

/// Twenty messages with a policy of ten make two batches, however long that takes; what does not fill a batch is
/// handled when its time is over.
pub async fn a_batch_closes_by_number_and_by_time<B: Site>(broker: &B) {
    let mut stage = Stage::new(broker);
    let topic = stage.topic(1).await;
    let (told, mut inbox) = Inbox::new();
    let by_number = BatchPolicy::at_most(10).within(2 * LONG);
    let stack = {
        let told = told.clone();
        move || batch_handler_with(told.clone(), tell)
    };
    stage.spawn(Worker::batches("number", stage.subscription(&topic), by_number, stack));
    stage.publish(&topic, 0..20).await;
    assert_eq!(numbers(&inbox.next().await), Vec::from_iter(0..10));
    assert_eq!(numbers(&inbox.next().await), Vec::from_iter(10..20));
    stage.drain().await;

    let by_time = BatchPolicy::at_most(1_000).within(Duration::from_millis(50));
    let stack = move || batch_handler_with(told.clone(), tell);
    stage.spawn(Worker::batches("time", stage.subscription(&topic), by_time, stack));
    stage.publish(&topic, 20..25).await;
    let mut seen = Vec::new();
    while seen.len() < 5 {
        seen.extend(numbers(&inbox.next().await));
    }
    assert_eq!(seen, Vec::from_iter(20..25));
    let graph = stage.end().await;
    graph.check(&Expect::new().sends(25).deliveries(25).components(..=25)).unwrap();
}

async fn tell(batch: Batch, State(told): State<Told<Batch>>) {
    told.tell(batch);
}

const MESSAGES: u64 = 200;

#[derive(Clone)]
struct Witness {
    told: Told<Batch>,
    running: Arc<Mutex<BTreeMap<i32, usize>>>,
    /// A batch was of several partitions, or two of one partition ran at once.
    wrong: Arc<AtomicBool>,
}

/// Batches of a partition come one after the other and in order, those of several side by side; without an order they
/// are of any partition.
pub async fn batches_of_a_partition_come_in_order<B: Site>(broker: &B) {
    let mut stage = Stage::new(broker);
    let topic = stage.topic(3).await;
    let (told, mut inbox) = Inbox::new();
    let witness = Witness { told, running: Arc::default(), wrong: Arc::default() };
    let wrong = witness.wrong.clone();
    let policy = BatchPolicy::at_most(16).within(Duration::from_millis(20));
    let ordered = Worker::batches("ordered", stage.subscription(&topic), policy, move || {
        batch_handler_with(witness.clone(), alone_in_its_partition)
    });
    stage.spawn(ordered.ordering(Ordering::Partition));
    stage.publish(&topic, 0..MESSAGES).await;
    let mut places: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
    while places.values().map(Vec::len).sum::<usize>() < MESSAGES as usize {
        for message in &inbox.next().await {
            let (partition, offset) = place(message);
            places.entry(partition).or_default().push(offset);
        }
    }
    for offsets in places.values() {
        assert!(offsets.iter().copied().eq(0..offsets.len() as i64), "{offsets:?}");
    }
    let graph = stage.end().await;
    graph.check(&Expect::new().deliveries(MESSAGES as usize)).unwrap();
    assert!(!wrong.load(SeqCst), "one of a partition at a time");
}

async fn alone_in_its_partition(batch: Batch, State(witness): State<Witness>) {
    let (partition, _) = place(&batch[0]);
    let enter = |by: isize| {
        let mut running = witness.running.lock().unwrap();
        let running = running.entry(partition).or_default();
        *running = running.checked_add_signed(by).unwrap();
        *running
    };
    let mixed = batch.iter().any(|message| place(message).0 != partition);
    witness.wrong.fetch_or(mixed | (enter(1) > 1), SeqCst);
    tokio::time::sleep(Duration::from_millis(2)).await; // the work
    enter(-1);
    witness.told.tell(batch);
}

/// Every edge: a batch is one CONSUMER root with a link to the send of each message, what is sent inside is its child,
/// and a CLIENT span of the operation `receive` with the same links was there before. Nothing is received of an empty
/// poll.
pub async fn a_batch_links_to_each_send<B: Site>(broker: &B) {
    const EACH: usize = 8;
    let mut stage = Stage::new(broker);
    let (first, second) = (stage.topic(1).await, stage.topic(1).await);
    let (told, mut inbox) = Inbox::new();
    let onward = stage.publisher(&second);
    let policy = BatchPolicy::at_most(EACH).within(2 * LONG);
    stage.spawn(Worker::batches("first", stage.subscription(&first), policy, move || {
        batch_handler_with(onward.clone(), send_on_each)
    }));
    stage.spawn(Worker::batches("second", stage.subscription(&second), policy, move || {
        batch_handler_with(told.clone(), tell)
    }));
    stage.publish(&first, 0..2 * EACH as u64).await;
    let arrived = inbox.take(2).await;
    let graph = stage.end().await;

    let messages = 2 * EACH;
    let expect = Expect::new()
        .spans(2 * messages + 4 + 4)
        .sends(2 * messages)
        .process_spans(4)
        .deliveries(2 * messages)
        .links(4 * messages)
        .attempts(0)
        .components(2);
    graph.check(&expect).unwrap();
    for message in arrived.iter().flatten() {
        let send = graph.get(creation(message)).expect("the send span whose context the message carries");
        let process = graph.get(send.parent.expect("sent from a handler")).unwrap();
        assert_eq!(
            (process.kind, process.name.as_str()),
            (Kind::Consumer, &*format!("{} {first}", B::PROCESS))
        );
    }
    for span in named(&graph, &format!("{} {first}", B::PROCESS)) {
        assert!(span.parent.is_none() && span.status.is_unset(), "{span:?}");
        assert_eq!(span.text("messaging.batch.message_count"), Some(EACH.to_string()));
        assert_eq!(span.text("messaging.operation.type").as_deref(), Some("process"));
        assert_eq!(span.text("messaging.destination.partition.id").as_deref(), Some("0"));
        let offsets = span.links.iter().map(|link| {
            let offset = link.attributes.iter().find(|(name, _)| name.ends_with(".offset"));
            offset.and_then(|(_, offset)| offset.as_i64()).expect("an offset on the link")
        });
        let offsets: Vec<_> = offsets.collect();
        assert!(offsets.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{offsets:?}");
        let receive = graph.spans().iter().find(|other| {
            other.kind == Kind::Client
                && other.links.first().map(|l| l.to) == span.links.first().map(|l| l.to)
        });
        let receive = receive.expect("a receive span of the same messages");
        assert_eq!(receive.text("messaging.operation.type").as_deref(), Some("receive"));
        assert_eq!(receive.links.len(), EACH);
        assert!(receive.start <= span.start && receive.end <= span.end);
    }
}

async fn send_on_each(batch: Batch, State(onward): State<Publisher>) -> Result<(), BoxError> {
    for message in &batch {
        onward.send(copy(message)).await?;
    }
    Ok(())
}

/// Some messages of a batch came without a context: the others are linked, and all are handled.
pub async fn messages_without_a_context_are_in_batches_too<B: Site>(broker: &B) {
    let mut stage = Stage::new(broker);
    let topic = stage.topic(1).await;
    let (told, mut inbox) = Inbox::new();
    let policy = BatchPolicy::at_most(4).within(2 * LONG);
    stage.spawn(Worker::batches("w", stage.subscription(&topic), policy, move || {
        batch_handler_with(told.clone(), tell)
    }));
    let mut bare = broker.sink(&topic);
    for n in 0..4 {
        if n % 2 == 0 {
            stage.publish(&topic, n..n + 1).await;
        } else {
            use tower::{Service, ServiceExt};
            bare.ready().await.unwrap().call(Message::new(n.to_string())).await.unwrap();
        }
    }
    assert_eq!(numbers(&inbox.next().await), [0, 1, 2, 3]);
    let graph = stage.end().await;
    let expect = Expect::new().spans(4).sends(2).process_spans(1).deliveries(4).links(4).without_context(2);
    graph.check(&expect).unwrap();
}
