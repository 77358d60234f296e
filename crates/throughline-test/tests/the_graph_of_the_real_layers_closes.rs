//! What the tracing layers export through the embedded broker is what the graph checker reads: a message that is
//! sent, retried, sent on, and put aside, with every rule in force.

#![allow(clippy::unwrap_used, reason = "a test")]

use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracer, SdkTracerProvider};
use std::{
    future::ready,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};
use throughline_core::{BoxError, Capacity, Demand, Endpoint, Message, Receipt, Source, Subscription};
use throughline_memory::Memory;
use throughline_test::{Expect, Fault, Graph, SpanRecord, conformance::run};
use throughline_trace::{AttemptLayer, MirrorLayer, Relation, TracingLayer};
use tower::{ServiceBuilder, ServiceExt, retry::Policy};

struct Rig {
    memory: Memory,
    tracer: SdkTracer,
    exporter: InMemorySpanExporter,
    _provider: SdkTracerProvider,
}

#[derive(Clone)]
struct Twice(u32);

impl Policy<Message, (), BoxError> for Twice {
    type Future = std::future::Ready<()>;

    fn retry(&mut self, _: &mut Message, result: &mut Result<(), BoxError>) -> Option<Self::Future> {
        self.0 = self.0.checked_sub(1)?;
        result.is_err().then(|| ready(()))
    }

    fn clone_request(&mut self, message: &Message) -> Option<Message> {
        Some(message.clone())
    }
}

impl Rig {
    fn new() -> Rig {
        let exporter = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
        let memory = Memory::new();
        for topic in ["in", "out", "dead"] {
            memory.create_topic(topic, 1).unwrap();
        }
        Rig { memory, tracer: provider.tracer("test"), exporter, _provider: provider }
    }

    async fn publish(&self, topic: &str, message: Message) -> Receipt {
        let sink = self.memory.topic(topic);
        let mirror = MirrorLayer::new(sink.destination()).spans(self.tracer.clone());
        ServiceBuilder::new().layer(mirror).service(sink).oneshot(message).await.unwrap()
    }

    async fn receive(&self, topic: &str) -> Message {
        let (_control, demand) = Demand::new(Capacity { messages: 1, bytes: usize::MAX });
        let subscription = self.memory.subscribe(topic).group("g");
        let mut source = subscription.subscribe(demand, Arc::new(())).await.unwrap();
        source.receive().await.unwrap().remove(0).message
    }

    /// Sends into `in`; there it fails twice, and is sent on and put aside in the third try; both are processed.
    async fn pipeline(&self, relation: Relation) {
        self.publish("in", Message::new("document").with_key("k")).await;
        let message = self.receive("in").await;
        let tries = AtomicU32::new(0);
        let stack = ServiceBuilder::new()
            .layer(TracingLayer::new(self.tracer.clone()).relation(relation))
            .retry(Twice(2))
            .layer(AttemptLayer::new())
            .service_fn(|message: Message| {
                let failed = tries.fetch_add(1, Ordering::Relaxed) < 2;
                async move {
                    if failed {
                        return Err(BoxError::from("not yet"));
                    }
                    self.publish("out", throughline_trace::forward(&message)).await;
                    self.publish("dead", throughline_trace::set_aside(&message)).await;
                    Ok(())
                }
            });
        stack.oneshot(message).await.unwrap();
        for topic in ["out", "dead"] {
            let message = self.receive(topic).await;
            let layer = TracingLayer::new(self.tracer.clone()).relation(relation);
            let handler = tower::service_fn(|_: Message| async { Ok::<_, BoxError>(()) });
            ServiceBuilder::new().layer(layer).service(handler).oneshot(message).await.unwrap();
        }
    }

    fn spans(&self) -> Vec<SpanRecord> {
        self.exporter.get_finished_spans().unwrap().into_iter().map(SpanRecord::from).collect()
    }
}

fn expect() -> Expect {
    Expect::new().spans(8).sends(3).process_spans(3).attempts(2).components(1)
}

#[test]
fn every_edge_resolves_with_links_and_with_parents() {
    for (relation, traces) in [(Relation::Link, 4), (Relation::ParentAndLink, 1)] {
        run(async {
            let rig = Rig::new();
            rig.pipeline(relation).await;
            let graph = Graph::new(rig.spans());
            let report = graph.check(&expect().traces(traces)).unwrap();
            assert_eq!(report.unidentified, 0);
            let first = graph.spans().iter().find(|span| span.name == "send in").unwrap().id;
            let tree = graph.tree(first);
            assert_eq!(tree.lines().count(), 8, "one tree has it all:\n{tree}");
            assert!(graph.spans().iter().all(|span| graph.origin(span.id) == first));
        });
    }
}

#[test]
fn whatever_span_is_taken_away_the_graph_does_not_close() {
    run(async {
        let rig = Rig::new();
        rig.pipeline(Relation::Link).await;
        let spans = rig.spans();
        for n in 0..spans.len() {
            let mut fewer = spans.clone();
            let gone = fewer.remove(n);
            assert!(Graph::new(fewer).check(&expect()).is_err(), "without `{}`", gone.name);
        }
    });
}

#[test]
fn a_delivery_that_is_handled_twice_is_seen() {
    run(async {
        let rig = Rig::new();
        rig.publish("in", Message::new("x")).await;
        let message = rig.receive("in").await;
        for _ in 0..2 {
            let layer = TracingLayer::new(rig.tracer.clone());
            let handler = tower::service_fn(|_: Message| async { Ok::<_, BoxError>(()) });
            ServiceBuilder::new().layer(layer).service(handler).oneshot(message.clone()).await.unwrap();
        }
        let report = Graph::new(rig.spans()).report(&Expect::new());
        let faults: Vec<_> = report.broken_edges.iter().map(|edge| edge.fault).collect();
        assert_eq!(faults, [Fault::SecondProcessSpan]);
    });
}

#[test]
fn a_link_to_another_messages_send_is_seen() {
    run(async {
        let rig = Rig::new();
        rig.pipeline(Relation::Link).await;
        let mut spans = rig.spans();
        let other = spans.iter().find(|span| span.name == "send in").unwrap().id;
        spans.iter_mut().find(|span| span.name == "process out").unwrap().links[0].to = other;
        let report = Graph::new(spans).report(&Expect::new());
        assert_eq!(report.broken_edges[0].fault, Fault::WrongSend, "{report}");
    });
}
