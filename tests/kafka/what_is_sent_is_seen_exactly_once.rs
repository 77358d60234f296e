//! Batches in transactions: a reader that sees only what is committed sees what each message led to exactly once, whoever
//! is killed, frozen or fails on the way.

use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, KafkaResult},
    producer::{BaseProducer, BaseRecord, Producer},
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};
use throughline::{
    Batch, BatchPolicy, BoxError, DeadLetter, Message, Ordering, Publisher, Redelay, Rejected, Runtime,
    State, Telemetry, Worker, WorkerState, batch_handler, batch_handler_with, handler, handler_with,
    kafka::{Kafka, KafkaSubscription, Transaction, TransactionLayer},
};
use throughline_test::{Demands, Ev, Expect, Kind, conformance::Broker};
use throughline_tests::{
    Inbox, LONG, Site, Stage, Told, WorkerProcess, Workforce,
    a_killed_worker_loses_nothing::many_kills_lose_nothing,
    by_tier, eventually,
    kafka::{Cluster, Crew, Keyed},
    until, within,
};
use tokio::task::{block_in_place, spawn_blocking};
use tower::Layer;
use xtask::OwnKafka;

/// The last message of a topic, so that a reader knows that it has seen all before it.
const LAST: &str = "last";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_lose_and_double_nothing() {
    let (cluster, ids, kills) = (Cluster::new(), 20_000, by_tier(10, 200));
    let demands = Demands::new().ids(ids).kills(kills).duplicates(0).duplicates_per_kill(ids);
    let crew = Crew::gather(&cluster, "exactly-once", 4, demands).await;
    let to = topic(&cluster).await;
    let options = member_options(&to).map(str::to_owned).to_vec();
    let crew = Keyed { crew, keys: 997, options };
    many_kills_lose_nothing(&crew, &Telemetry::off(), ids, kills, || crew.start(None)).await;
    let seen = Reader::committed(&cluster, &to).all().await;
    assert_eq!(seen.len() as u64, ids, "each id is seen");
    assert!(seen.values().all(|times| *times == 1), "an id is seen twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_member_is_shut_out_and_its_transaction_taken_back() {
    const FEW: u64 = 200;
    let cluster = Cluster::new();
    let demands = Demands::new().ids(FEW).kills(0).duplicates(FEW);
    let crew = Crew::gather(&cluster, "exactly-once", 1, demands).await;
    let to = topic(&cluster).await;
    crew.publish(&Telemetry::off(), 0..FEW, Duration::ZERO, |id| Message::new(id.to_string())).await;
    let frozen = member(&crew, &to, &["--handler-ms", "50"]);
    // Everything of a batch is sent before its first message is written down as begun.
    until("it is in a transaction", || crew.entries().iter().any(|entry| entry.ev == Ev::Started)).await;
    signal("-STOP", frozen.id());
    let other = member(&crew, &to, &[]);
    crew.wait_for_commits(FEW).await;
    // While the first is frozen: its transaction hides nothing any more.
    let mut reader = Reader::committed(&cluster, &to);
    let seen = reader.inbox.take(FEW as usize).await;
    signal("-CONT", frozen.id());
    // It finds out, comes back as a member, and is asked to end.
    let _ = frozen.end().await;
    other.stop().await;
    assert_eq!(count(&seen).len() as u64, FEW, "each id is seen once");
    let more = reader.all().await;
    assert!(more.is_empty(), "an id is seen again: {more:?}");
}

/// The broker is killed in the middle of transactions, and started again on the same log: what became of each is found out,
/// and nothing is sent a second time that was committed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_killed_loses_and_doubles_nothing() {
    const IDS: u64 = 1_000;
    let mut broker = block_in_place(|| OwnKafka::builder().start()).unwrap();
    let cluster = Cluster::at(broker.address());
    let demands = Demands::new().ids(IDS).kills(0).duplicates(IDS);
    let crew = Crew::gather(&cluster, "exactly-once", 2, demands).await;
    let to = topic(&cluster).await;
    crew.publish_to_both(0..IDS).await;
    let workers = [(), ()].map(|()| member(&crew, &to, &["--handler-ms", "10"]));
    let done = || crew.entries().iter().filter(|entry| entry.ev == Ev::Finished).count();
    for outage in [1, 5].map(Duration::from_secs) {
        let before = done();
        until("it works", || done() > before + 100).await;
        block_in_place(|| broker.kill());
        tokio::time::sleep(outage).await;
        let before = done();
        block_in_place(|| broker.restart()).unwrap();
        let ready = Instant::now();
        until("it works again", || done() > before).await;
        println!("first message {:?} after the broker was ready", ready.elapsed());
    }
    crew.wait_for_commits(IDS).await;
    for worker in workers {
        worker.stop().await;
    }
    let seen = Reader::committed(&cluster, &to).all().await;
    assert_eq!(seen.len() as u64, IDS, "each id is seen");
    assert!(seen.values().all(|times| *times == 1), "an id is seen twice");
    crew.conclude();
}

/// An owner that is gone has left a transaction open just before its commit: whoever comes next ends it before asking
/// where the group is, which has no answer as long as it may still be committed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_lost_owner_left_open_is_ended_before_the_group_is_asked() {
    let cluster = Cluster::new();
    let mut stage = Stage::new(&cluster);
    let (from, to) = (stage.topic(1).await, stage.topic(1).await);
    let group = Stage::<Cluster>::group(&from);
    stage.publish(&from, 0..10).await;
    let lost = Lost::new(&cluster, &from, &group);
    lost.begin(&to, "never", 5).unwrap();

    stage.spawn(passing_on(&stage, &from, &to));
    eventually("all is done", || cluster.committed(&from, &group), |at| at.get(&0) == Some(&10)).await;
    let error = lost.commit().unwrap_err();
    let shut_out = matches!(&error, KafkaError::Transaction(error) if error.is_fatal());
    assert!(shut_out, "{error}");
    stage.drain().await;
    let once = (0..10).map(|n| (n.to_string(), 1)).collect();
    assert_eq!(Reader::committed(&cluster, &to).all().await, once);
}

/// An owner that does not know yet commits on until it is shut out: only then is the group asked where it is, else what was
/// committed meanwhile would be done again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_owner_commits_until_it_is_shut_out_is_not_done_again() {
    const ALL: u16 = 1_000;
    let cluster = Cluster::new();
    let mut stage = Stage::new(&cluster);
    let (from, to) = (stage.topic(1).await, stage.topic(1).await);
    let group = Stage::<Cluster>::group(&from);
    stage.publish(&from, 0..u64::from(ALL)).await;
    let owner = Lost::new(&cluster, &from, &group);
    let out = to.clone();
    let owned = spawn_blocking(move || {
        let begin = |n: u16| owner.begin(&out, &n.to_string(), i64::from(n) + 1);
        let done = |n: &u16| begin(*n).and_then(|()| owner.commit()).is_ok();
        (0..ALL).take_while(done).count()
    });
    eventually("it works", || cluster.committed(&from, &group), |at| at.get(&0) > Some(&10)).await;
    stage.spawn(passing_on(&stage, &from, &to));
    let all = Some(&i64::from(ALL));
    eventually("all is done", || cluster.committed(&from, &group), |at| at.get(&0) == all).await;
    let owned = owned.await.unwrap();
    assert!(owned < usize::from(ALL), "it was shut out");
    stage.drain().await;
    let once = (0..ALL).map(|n| (n.to_string(), 1)).collect();
    assert_eq!(Reader::committed(&cluster, &to).all().await, once, "{owned} by the owner before");
}

fn passing_on(stage: &Stage<'_, Cluster>, from: &str, to: &str) -> Worker {
    let publisher = Publisher::new(stage.broker.sink(to).in_transactions());
    exactly_once(stage, from, move || TransactionLayer.layer(batch_handler_with(publisher.clone(), pass_on)))
}

/// The owner of partition 0 by the client alone.
struct Lost {
    producer: BaseProducer,
    consumer: BaseConsumer,
    from: String,
}

impl Lost {
    fn new(cluster: &Cluster, from: &str, group: &str) -> Lost {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", cluster.servers());
        let consumer: BaseConsumer = config.clone().set("group.id", group).create().unwrap();
        let id = format!("{from}/{group}/{from}/0");
        config.set("transactional.id", id).set("transaction.timeout.ms", "600000");
        let producer: BaseProducer = config.create().unwrap();
        producer.init_transactions(LONG).unwrap();
        Lost { producer, consumer, from: from.to_owned() }
    }

    /// Sends this, and says that what is below the offset is done.
    fn begin(&self, to: &str, payload: &str, offset: i64) -> KafkaResult<()> {
        self.producer.begin_transaction()?;
        self.producer.send(BaseRecord::<(), str>::to(to).payload(payload)).map_err(|(error, _)| error)?;
        self.producer.flush(LONG)?;
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(&self.from, 0, Offset::Offset(offset))?;
        let metadata = self.consumer.group_metadata().unwrap();
        self.producer.send_offsets_to_transaction(&offsets, &metadata, LONG)
    }

    fn commit(&self) -> KafkaResult<()> {
        self.producer.commit_transaction(LONG)
    }
}

async fn pass_on(
    batch: Batch,
    transaction: Transaction,
    State(to): State<Publisher>,
) -> Result<(), BoxError> {
    for message in &batch {
        to.send(transaction.of(Message::new(message.payload().clone()))).await?;
    }
    Ok(())
}

/// A batch that fails after it sent, one that succeeds the second time, and a message that is rejected among others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_takes_back_what_was_sent_and_spans_are_as_ever() {
    #[derive(Clone)]
    struct Job {
        to: Publisher,
        failed: Arc<AtomicBool>,
    }
    async fn send(batch: Batch, transaction: Transaction, State(job): State<Job>) -> Result<(), BoxError> {
        pass_on(batch.clone(), transaction, State(job.to.clone())).await?;
        if !job.failed.swap(true, SeqCst) {
            return Err("once".into());
        }
        if batch.iter().any(|message| &message.payload()[..] == b"7") {
            return Err(Rejected::new("seven").into());
        }
        Ok(())
    }
    let cluster = Cluster::new();
    let mut stage = Stage::with(&cluster, |telemetry| telemetry.commit_spans(true));
    let (from, to, letters) = (stage.topic(1).await, stage.topic(1).await, stage.topic(1).await);
    stage.publish(&from, 0..10).await;
    let sink = cluster.sink(&to).in_transactions();
    let job = Job { to: Publisher::with_telemetry(sink, &stage.telemetry), failed: Arc::default() };
    let failed = job.failed.clone();
    let worker =
        exactly_once(&stage, &from, move || TransactionLayer.layer(batch_handler_with(job.clone(), send)));
    stage.spawn(worker.dead_letter(DeadLetter::to(stage.publisher(&letters)).after(5)));
    let group = Stage::<Cluster>::group(&from);
    eventually("all is done", || cluster.committed(&from, &group), |at| at.get(&0) == Some(&10)).await;
    assert!(failed.load(SeqCst));
    let graph = stage.end().await;

    let seen = Reader::committed(&cluster, &to).all().await;
    let once = (0..10).filter(|n| *n != 7).map(|n| (n.to_string(), 1)).collect();
    assert_eq!(seen, once);
    assert_eq!(Reader::committed(&cluster, &letters).all().await, BTreeMap::from([("7".to_owned(), 1)]));
    let kafka = cluster.kafka().clone().set("isolation.level", "read_uncommitted");
    let sent = Reader::of(&kafka, &cluster, &to).all().await;
    assert!(sent.values().all(|times| *times >= 2), "all of it had been sent before: {sent:?}");

    let all = sent.values().sum::<usize>();
    let sends: Vec<_> = graph.spans().iter().filter(|span| span.name == format!("send {to}")).collect();
    assert_eq!(sends.len(), all);
    for span in sends {
        let process = graph.get(span.parent.expect("sent in a batch")).unwrap();
        assert_eq!((span.kind, process.kind), (Kind::Producer, Kind::Consumer));
        assert!(span.status.is_unset() && process.name == format!("process {from}"));
    }
    // One commit a transaction, which links to what made the messages that it is of.
    let commits = graph.spans().iter().filter(|span| span.name == format!("commit {from}"));
    let counts: Vec<(u64, usize)> = commits
        .map(|span| {
            assert!(span.kind == Kind::Client && span.status.is_unset() && span.end > span.start, "{span:?}");
            (span.text("messaging.batch.message_count").unwrap().parse().unwrap(), span.links.len())
        })
        .collect();
    assert!(counts.iter().all(|(messages, links)| *messages == *links as u64), "{counts:?}");
    assert_eq!(counts.iter().map(|(messages, _)| messages).sum::<u64>(), 9, "all but the rejected one");
    // Ten that came, those of the transactions, and one dead letter.
    graph.check(&Expect::new().sends(10 + all + 1).deliveries(11..).redeliveries(0..)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_would_not_be_exact_is_refused() {
    let cluster = Cluster::new();
    let mut stage = Stage::new(&cluster);
    let topic = stage.topic(1).await;
    stage.publish(&topic, 0..1).await;
    let stack = || batch_handler(|_: Batch| async {});
    let subscription = || stage.subscription(&topic).exactly_once("refused");
    let policy = BatchPolicy::at_most(1);
    let workers = [
        ("Ordering::Partition", Worker::batches("by key", subscription(), policy, stack)),
        ("Worker::batches", {
            let worker = Worker::new("one", subscription(), || handler(|_: Message| async {}));
            worker.ordering(Ordering::Partition)
        }),
        ("TransactionLayer", exactly_once(&stage, &topic, stack)),
    ];
    for (word, worker) in workers {
        let mut stage = Stage::new(&cluster);
        let handle = stage.spawn(worker);
        let status = within("it gives up", handle.ended()).await;
        let error = status.error.unwrap_or_default();
        assert!(status.state == WorkerState::Failed && error.contains(word), "{word}: {error}");
        drop(stage.runtime());
    }
    let sink = Publisher::new(cluster.sink(&topic).in_transactions());
    let error = sink.send(Message::new("1")).await.unwrap_err().to_string();
    assert!(error.contains("transaction.of"), "{error}");
    let at = cluster.committed(&topic, &Stage::<Cluster>::group(&topic)).await;
    assert!(at.is_empty(), "nothing is committed without a transaction: {at:?}");
    stage.drain().await;
}

fn exactly_once<F, S>(stage: &Stage<'_, Cluster>, topic: &str, stack: F) -> Worker
where
    F: Fn() -> S + Send + Sync + 'static,
    S: tower::Service<Batch> + Send + 'static,
    S::Response: throughline::IntoAnswers + 'static,
    S::Error: Into<BoxError> + 'static,
    S::Future: Send + 'static,
{
    let subscription: KafkaSubscription = stage.subscription(topic).exactly_once(topic);
    let policy = BatchPolicy::at_most(10).within(Duration::from_millis(20));
    let redelay = Redelay::exponential(Duration::from_millis(5), Duration::from_millis(20));
    Worker::batches("w", subscription, policy, stack).ordering(Ordering::Partition).redelay(redelay)
}

/// A worker process. Nothing but its next owner ends a transaction that it leaves open in the time that a test takes.
fn member(crew: &Crew, to: &str, options: &[&str]) -> WorkerProcess {
    crew.worker(&[&member_options(to), options].concat())
}

fn member_options(to: &str) -> [&str; 4] {
    ["--exactly-once", to, "--set", "transaction.timeout.ms=600000"]
}

async fn topic(cluster: &Cluster) -> String {
    let name = cluster.fresh_name("out");
    cluster.create_topic(&name, 1).await.unwrap();
    name
}

fn signal(which: &str, process: u32) {
    let told = std::process::Command::new("kill").args([which, &process.to_string()]).status().unwrap();
    assert!(told.success());
}

/// Reads a topic of one partition from its start.
struct Reader {
    inbox: Inbox,
    runtime: Runtime,
    topic: String,
    cluster: Cluster,
}

impl Reader {
    fn committed(cluster: &Cluster, topic: &str) -> Self {
        Reader::of(cluster.kafka(), cluster, topic)
    }

    fn of(kafka: &Kafka, cluster: &Cluster, topic: &str) -> Self {
        async fn note(message: Message, State(told): State<Told>) {
            told.tell(message);
        }
        let (told, inbox) = Inbox::new();
        let mut runtime = Runtime::new(Telemetry::off()).unwrap();
        let subscription = kafka.group(cluster.fresh_name("reader")).topic(topic);
        let worker = Worker::new("reader", subscription, move || handler_with(told.clone(), note));
        runtime.spawn(worker.ordering(Ordering::Partition));
        Reader { inbox, runtime, topic: topic.to_owned(), cluster: cluster.clone() }
    }

    /// Everything from here to the end of the topic, and how often.
    async fn all(mut self) -> BTreeMap<String, usize> {
        let publisher = Publisher::with_telemetry(self.cluster.sink(&self.topic), &Telemetry::off());
        publisher.send(Message::new(LAST)).await.unwrap();
        let mut seen = Vec::new();
        loop {
            let message = self.inbox.next().await;
            if &message.payload()[..] == LAST.as_bytes() {
                break;
            }
            seen.push(message);
        }
        self.runtime.until(std::future::ready(())).await.unwrap();
        let mut seen = count(&seen);
        seen.remove(LAST);
        seen
    }
}

fn count(messages: &[Message]) -> BTreeMap<String, usize> {
    let mut seen = BTreeMap::new();
    for message in messages {
        *seen.entry(String::from_utf8(message.payload().to_vec()).unwrap()).or_default() += 1;
    }
    seen
}
