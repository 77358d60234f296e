//! Brokers that go away under a connected member: librdkafka's own cluster of fakes, since it can be switched off.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests count as no test for clippy")]

use rdkafka::mocking::MockCluster;
use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};
use throughline_core::{
    Capacity, Demand, ErrorKind, Event, Message, Observe, Settlement, Settler, Source, Subscription,
};
use throughline_kafka::Kafka;
use tower_service::Service;

const LONG: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Outages(AtomicU32);

impl Observe for Outages {
    fn observe(&self, event: Event<'_>) {
        if let Event::Reconnecting { .. } = event {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_close_keeps_its_deadline_and_says_what_was_not_committed() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 1, 1).unwrap();
    let kafka = Kafka::new(cluster.bootstrap_servers());
    let mut sink = kafka.topic("t");
    for n in 0..10_u32 {
        poll_fn(|cx| sink.poll_ready(cx)).await.unwrap();
        tokio::time::timeout(LONG, sink.call(Message::new(n.to_string()))).await.unwrap().unwrap();
    }
    // Nothing is committed before the brokers are gone.
    let subscription = kafka.group("g").topic("t").commit_interval(Duration::from_secs(3600));
    let (control, demand) = Demand::new(Capacity { messages: 100, bytes: 1 << 20 });
    let outages = Arc::<Outages>::default();
    let mut source =
        tokio::time::timeout(LONG, subscription.subscribe(demand, outages.clone())).await.unwrap().unwrap();
    let mut got = 0;
    while got < 10 {
        for delivery in tokio::time::timeout(LONG, source.receive()).await.unwrap().unwrap() {
            got += 1;
            delivery.settler.settle(Settlement::Ack).await.unwrap();
        }
    }
    cluster.broker_down(1).unwrap();
    // Away, but not the end: the source goes on waiting and says so.
    let waiting = tokio::time::timeout(Duration::from_secs(2), source.receive()).await;
    assert!(waiting.is_err(), "an outage heals and is no error: {waiting:?}");
    assert!(outages.0.load(Ordering::SeqCst) > 0);
    control.stop();
    let began = Instant::now();
    let error = source.close(Instant::now() + Duration::from_secs(2)).await.unwrap_err();
    assert_eq!((error.kind(), error.resource()), (ErrorKind::Timeout, "g"));
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "current_thread")]
async fn a_source_that_is_dropped_holds_nobody_up() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 1, 1).unwrap();
    let (_control, demand) = Demand::new(Capacity { messages: 100, bytes: 1 << 20 });
    let subscription = Kafka::new(cluster.bootstrap_servers()).group("g").topic("t");
    let source =
        tokio::time::timeout(LONG, subscription.subscribe(demand, Arc::new(()))).await.unwrap().unwrap();
    cluster.broker_down(1).unwrap();
    let began = Instant::now();
    drop(source);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}
