//! FC-15: what the broker refuses later is never taken for sent. The one test of its process, since a drain flushes every
//! publisher of it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says that it failed by a panic")]

use futures_util::poll;
use std::time::{Duration, Instant};
use throughline::{
    BoxError, ErrorKind, Message, Publisher, Runtime, ShutdownError, State, Step, Telemetry, Worker,
    WorkerHandle, handler_with, kafka::Kafka,
};
use throughline_test::conformance::Broker;
use throughline_tests::{kafka::Cluster, until, within};
use tokio::task::block_in_place;
use xtask::OwnKafka;

/// What the topic that is published to takes, and what is sent there.
const LIMIT: &str = "1000";
const SIZE: usize = 5_000;

#[derive(Clone, Copy)]
enum How {
    Awaited,
    /// Polled, so that it is under way, and dropped.
    Dropped,
}

struct Place {
    kafka: Kafka,
    input: String,
    publisher: Publisher,
}

async fn publish(_: Message, State((publisher, how)): State<(Publisher, How)>) -> Result<(), BoxError> {
    let mut send = publisher.send(Message::new(vec![b'x'; SIZE]));
    match how {
        How::Awaited => drop(send.await?),
        How::Dropped => assert!(poll!(&mut send).is_pending()),
    }
    Ok(())
}

impl Place {
    async fn new() -> Self {
        // Slow, so that the drain begins before the broker has refused.
        let kafka = Kafka::new(Cluster::new().servers()).set("linger.ms", "1000");
        let names = Cluster::new();
        let [input, output] = ["input", "output"].map(|what| names.fresh_name(what));
        kafka.admin().create_topic(&input, 1).await.unwrap();
        kafka.admin().create_topic_with(&output, 1, &[("max.message.bytes", LIMIT)]).await.unwrap();
        let publisher = Publisher::new(kafka.topic(&output));
        Publisher::new(kafka.topic(&input)).send(Message::new("in")).await.unwrap();
        Place { kafka, input, publisher }
    }

    /// Runs a worker that publishes like this until it `did` something, and drains it.
    async fn run(&self, how: How, did: impl Fn(&WorkerHandle) -> bool) -> Result<(), ShutdownError> {
        // Nothing is committed before the drain.
        let subscription =
            self.kafka.group("g").topic(&self.input).commit_interval(Duration::from_secs(3600));
        let publisher = self.publisher.clone();
        let mut runtime = Runtime::new(Telemetry::off()).unwrap();
        let stack = move || handler_with((publisher.clone(), how), publish);
        let handle = runtime.spawn(Worker::new("w", subscription, stack));
        until("the message was handled", || did(&handle)).await;
        within("the drain", runtime.until(std::future::ready(()))).await
    }

    /// How many messages are done for the group: where it begins is committed before any is.
    async fn committed(&self) -> i64 {
        self.kafka.admin().committed("g", &self.input).await.unwrap()[0].1.unwrap_or(0)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_message_acknowledges_nothing_and_a_drain_says_how_many_there_were() {
    let place = Place::new().await;
    let error = place.publisher.send(Message::new(vec![b'x'; SIZE])).await.unwrap_err();
    let error = error.downcast::<throughline::Error>().unwrap();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(error.to_string().contains("5000") && error.to_string().contains(LIMIT), "{error}");

    // Awaited: the handler fails, and its message is not acknowledged.
    place.run(How::Awaited, |worker| worker.status().counts.nacked > 0).await.unwrap();
    assert_eq!(place.committed().await, 0);

    // Not awaited: the handler says that all is well, and the drain says otherwise, before anything is committed.
    let error = place.run(How::Dropped, |worker| worker.status().counts.acked > 0).await.unwrap_err();
    assert_eq!(error.step(), Step::Publishers);
    assert!(error.to_string().contains("1 messages were not confirmed"), "{error}");
    assert_eq!(place.committed().await, 0);

    a_broker_that_is_frozen_holds_no_drain_up().await;
}

/// What is under way is not waited for beyond the grace, and the drain says so.
async fn a_broker_that_is_frozen_holds_no_drain_up() {
    const GRACE: Duration = Duration::from_secs(3);
    let broker = block_in_place(|| OwnKafka::builder().start()).unwrap();
    let kafka = Kafka::new(broker.address());
    kafka.admin().create_topic("output", 1).await.unwrap();
    let publisher = Publisher::new(kafka.topic("output"));
    publisher.send(Message::new("before")).await.unwrap();
    broker.freeze();
    for n in 0..10 {
        assert!(poll!(&mut publisher.send(Message::new(n.to_string()))).is_pending());
    }
    let since = Instant::now();
    let runtime = Runtime::new(Telemetry::off()).unwrap().grace(GRACE);
    let error = within("the drain", runtime.until(std::future::ready(()))).await.unwrap_err();
    assert_eq!(error.step(), Step::Publishers, "{error}");
    assert!(since.elapsed() < 2 * GRACE, "{:?}", since.elapsed());
    broker.thaw();
}
