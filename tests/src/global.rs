//! What is set once for a process: each test of it is alone in its binary.

use crate::{
    Inbox, LONG,
    steps::{note, pass_on},
    within,
};
use opentelemetry_sdk::trace::InMemorySpanExporter;
use throughline::{Endpoint, Message, Publisher, Runtime, Subscription, Telemetry, Worker, handler_with};
use throughline_test::{Expect, Graph};

/// Both publishers are built, and one has sent, before the telemetry is there and global: what they send afterwards is
/// traced, from the first message on.
pub async fn a_publisher_built_before_the_telemetry<K, S>(sinks: [K; 2], subscriptions: [S; 2])
where
    K: Endpoint,
    S: Subscription,
{
    let [first, second] = sinks.map(Publisher::new);
    first.send(Message::new("untraced")).await.unwrap();

    let exporter = InMemorySpanExporter::default();
    let telemetry = Telemetry::builder("global").exporter(exporter.clone()).build().unwrap();
    first.send(Message::new("traced")).await.unwrap();
    let mut runtime = Runtime::new(telemetry.clone()).unwrap();
    let (told, mut inbox) = Inbox::new();
    let [from_first, from_second] = subscriptions;
    runtime.spawn(Worker::new("first", from_first, move || handler_with(second.clone(), pass_on)));
    runtime.spawn(Worker::new("second", from_second, move || handler_with(told.clone(), note)));
    inbox.take(2).await;
    within("the drain", runtime.until(std::future::ready(()))).await.unwrap();
    telemetry.flushed(LONG).await.unwrap();

    let graph = Graph::new(exporter.get_finished_spans().unwrap());
    let expect = Expect::new().spans(7).sends(3).process_spans(4).links(3).without_context(1).components(2);
    graph.check(&expect).unwrap();
    let names = |name: &str| graph.spans().iter().filter(|span| span.name.starts_with(name)).count();
    assert_eq!((names("send"), names("process")), (3, 4));
}
