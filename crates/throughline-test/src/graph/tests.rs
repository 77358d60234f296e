//! A graph as it should be, and each way in which it can be wrong.

use super::*;
use crate::lines::scratch::Scratch;
use opentelemetry::{
    KeyValue,
    trace::{Span, SpanKind, Status, TraceContextExt, Tracer, TracerProvider},
};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanExporter};
use serde_json::json;

const fn id(trace: u128, span: u64) -> SpanRef {
    SpanRef { trace, span }
}

fn span(kind: Kind, at: SpanRef, name: &str) -> SpanRecord {
    SpanRecord {
        id: at,
        parent: None,
        parent_is_remote: false,
        kind,
        name: name.to_owned(),
        start: at.span * 1000,
        end: at.span * 1000 + 2_500_000,
        status: Outcome::Unset,
        attributes: Default::default(),
        links: Vec::new(),
        dropped_links: 0,
        flags: 1,
        tracestate: String::new(),
        scope: String::new(),
    }
}

impl SpanRecord {
    fn under(mut self, parent: SpanRef) -> Self {
        self.parent = Some(parent);
        self
    }

    fn link(mut self, to: SpanRef) -> Self {
        self.links.push(LinkRecord { to, attributes: Default::default() });
        self
    }

    fn with(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.attributes.insert(name.to_owned(), value.into());
        self
    }

    fn at(self, destination: &str, offset: u64) -> Self {
        self.with(names::DESTINATION, destination)
            .with(names::PARTITION, "0")
            .with("messaging.kafka.offset", offset)
    }
}

const SEND: SpanRef = id(1, 11);
const PROCESS: SpanRef = id(2, 21);
const SECOND: SpanRef = id(2, 22);
const THIRD: SpanRef = id(2, 23);
const ONWARD: SpanRef = id(2, 24);
const STORE: SpanRef = id(3, 31);

/// One message, sent, processed in three tries, sent on and stored.
fn pipeline() -> Vec<SpanRecord> {
    vec![
        span(Kind::Producer, SEND, "send in").at("in", 7).with(names::OPERATION, "send"),
        span(Kind::Consumer, PROCESS, "process in").at("in", 7).link(SEND),
        span(Kind::Internal, SECOND, "attempt").with(names::ATTEMPT, 2).under(PROCESS).link(PROCESS),
        span(Kind::Internal, THIRD, "attempt").with(names::ATTEMPT, 3).under(PROCESS).link(SECOND),
        span(Kind::Producer, ONWARD, "send out").at("out", 1).with(names::OPERATION, "send").under(THIRD),
        span(Kind::Consumer, STORE, "process out").at("out", 1).link(ONWARD),
    ]
}

fn expect() -> Expect {
    Expect::new().spans(6).process_spans(2).sends(2).attempts(2).links(4).traces(3).components(1)
}

/// The faults of a changed pipeline, counts aside.
fn faults(change: impl FnOnce(&mut Vec<SpanRecord>)) -> Vec<Fault> {
    let mut spans = pipeline();
    change(&mut spans);
    Graph::new(spans).report(&Expect::new()).broken_edges.into_iter().map(|edge| edge.fault).collect()
}

#[test]
fn a_whole_pipeline_closes() {
    let report = Graph::new(pipeline()).check(&expect()).unwrap();
    assert!(report.is_ok() && report.unidentified == 0);
    assert_eq!(
        report.to_string(),
        "6 spans (2 process, 2 send, 2 attempt), 4 links, 3 traces, 1 components, 0 broken edges"
    );
}

#[test]
fn every_span_that_is_missing_is_noticed() {
    for missing in 0..6 {
        let mut spans = pipeline();
        spans.remove(missing);
        let broken = Graph::new(spans).check(&expect()).unwrap_err();
        assert!(broken.report().unmet.iter().any(|unmet| unmet.starts_with("5 spans")), "{broken}");
    }
}

#[test]
fn parents_and_links_must_resolve() {
    assert_eq!(faults(|s| s[4].parent = Some(id(2, 99))), [Fault::ParentMissing]);
    assert_eq!(faults(|s| s[4].parent = Some(id(2, SEND.span))), [Fault::ParentInOtherTrace]);
    assert_eq!(
        faults(|s| s[0].links.push(LinkRecord { to: id(9, 9), attributes: Default::default() })),
        [Fault::LinkMissing]
    );
    assert_eq!(
        faults(|s| s[0].links.push(LinkRecord { to: id(0, 9), attributes: Default::default() })),
        [Fault::LinkInvalid]
    );
    assert_eq!(faults(|s| s[1].dropped_links = 1), [Fault::LinksDropped]);
}

#[test]
fn what_is_declared_external_resolves_and_holds_pieces_together() {
    let foreign = id(8, 8);
    let spans = vec![
        span(Kind::Consumer, PROCESS, "process").at("in", 1).link(foreign),
        span(Kind::Consumer, STORE, "process").at("in", 2).link(foreign),
    ];
    let graph = Graph::new(spans);
    assert_eq!(graph.report(&Expect::new()).broken_edges.len(), 2);
    graph.external(foreign).check(&Expect::new().components(1)).unwrap();

    // A producer of another make, whose span is exported here and is no send span to us.
    let foreign = span(Kind::Internal, SEND, "theirs");
    let graph = Graph::new([foreign, span(Kind::Consumer, PROCESS, "process").at("in", 1).link(SEND)]);
    assert_eq!(graph.report(&Expect::new()).broken_edges[0].fault, Fault::NotASend);
    graph.external(SEND).check(&Expect::new().spans(2)).unwrap();
}

#[test]
fn ids_are_unique_and_time_goes_forward() {
    assert_eq!(faults(|s| s.push(s[2].clone()))[0], Fault::DuplicateId);
    assert_eq!(faults(|s| s[2].end = s[2].start - 1), [Fault::EndsBeforeItBegins]);
}

#[test]
fn a_delivery_has_one_process_span() {
    let twice = |s: &mut Vec<SpanRecord>| {
        let mut again = s[1].clone();
        again.id.span = 99;
        s.push(again);
    };
    assert_eq!(faults(twice), [Fault::SecondProcessSpan]);

    // A log says nothing of how often it delivered: then the test says how often it must have.
    let mut spans = pipeline();
    twice(&mut spans);
    let graph = Graph::new(spans);
    graph.check(&Expect::new().redeliveries(1)).unwrap();
    graph.check(&Expect::new().redeliveries(2)).unwrap_err();

    // A broker that numbers deliveries tells them apart, and so do two groups.
    for (name, values) in [("x.delivery_attempt", [1, 2]), ("messaging.consumer.group.name", [1, 2])] {
        let mut spans = pipeline();
        twice(&mut spans);
        spans[1].attributes.insert(name.to_owned(), values[0].into());
        spans[6].attributes.insert(name.to_owned(), values[1].into());
        Graph::new(spans).check(&Expect::new()).unwrap();
    }
}

#[test]
fn without_offset_and_id_the_send_span_identifies_the_delivery() {
    let process = |span_id| span(Kind::Consumer, id(2, span_id), "process q").link(SEND);
    let spans = vec![span(Kind::Producer, SEND, "send q"), process(1), process(2)];
    let report = Graph::new(spans).report(&Expect::new());
    assert_eq!(report.broken_edges[0].fault, Fault::SecondProcessSpan);
}

#[test]
fn a_process_span_points_at_the_send_of_its_own_message() {
    assert_eq!(faults(|s| s[1].links.clear()), [Fault::WithoutCreation]);
    assert_eq!(faults(|s| s[5].links[0].to = SEND), [Fault::WrongSend]);
    // Nothing says where the message is: then at least a send it must be.
    let elsewhere = |s: &mut Vec<SpanRecord>| {
        s[5].attributes.clear();
        s[5].links[0].to = PROCESS;
    };
    assert_eq!(faults(elsewhere), [Fault::NotASend]);

    let mut spans = pipeline();
    spans[1].links.clear();
    Graph::new(spans).check(&Expect::new().without_context(1)).unwrap();
}

#[test]
fn with_parent_and_link_both_are_the_send() {
    let joined = |parent, link| {
        let sends = [span(Kind::Producer, id(1, 1), "send"), span(Kind::Producer, id(1, 2), "send")];
        let process = span(Kind::Consumer, id(1, 3), "process").under(parent).link(link);
        Graph::new(sends.into_iter().chain([process])).report(&Expect::new()).broken_edges
    };
    assert_eq!(joined(id(1, 1), id(1, 1)), []);
    assert_eq!(joined(id(1, 2), id(1, 1))[0].fault, Fault::ParentIsNotTheLink);
}

#[test]
fn a_users_creation_context_stands_behind_a_client_send_span() {
    let own = id(5, 1);
    let spans = |process| {
        vec![
            span(Kind::Internal, own, "mine"),
            span(Kind::Client, id(1, 2), "send q").at("q", 1).with(names::OPERATION, "send").link(own),
            span(Kind::Consumer, PROCESS, "process q").at("q", 1).link(process),
        ]
    };
    Graph::new(spans(own)).check(&Expect::new().sends(1)).unwrap();
    let broken = Graph::new(spans(id(1, 2))).check(&Expect::new()).unwrap_err();
    assert_eq!(broken.report().broken_edges[0].fault, Fault::WrongSend);
}

#[test]
fn a_dead_letter_keeps_its_creation_and_what_is_sent_on_does_not() {
    let put_aside = |kind, reads| {
        let mut spans = pipeline();
        let mut send =
            span(kind, id(2, 50), "send dead").at("dead", 0).with(names::OPERATION, "send").under(PROCESS);
        send = send.link(SEND).link(PROCESS);
        spans.extend([send, span(Kind::Consumer, id(6, 61), "process dead").at("dead", 0).link(reads)]);
        let edges = Graph::new(spans).report(&Expect::new()).broken_edges;
        edges.into_iter().map(|edge| edge.fault).collect::<Vec<_>>()
    };
    assert_eq!(put_aside(Kind::Client, SEND), []);
    assert_eq!(put_aside(Kind::Client, PROCESS), [Fault::WrongSend]);
    assert_eq!(put_aside(Kind::Producer, id(2, 50)), []);
    assert_eq!(put_aside(Kind::Producer, SEND), [Fault::WrongSend]);
}

#[test]
fn a_batch_has_one_span_and_a_link_for_each_message() {
    let sends = |n: u64| span(Kind::Producer, id(1, n), "send q").at("q", n).with(names::OPERATION, "send");
    let batch = |to: [u64; 2]| {
        let mut process = span(Kind::Consumer, PROCESS, "process q")
            .with(names::DESTINATION, "q")
            .with(names::PARTITION, "0")
            .with(names::BATCH, 2);
        for (offset, to) in [1, 2].into_iter().zip(to) {
            let attributes = [("messaging.kafka.offset".to_owned(), json!(offset))].into();
            process.links.push(LinkRecord { to: id(1, to), attributes });
        }
        process
    };
    let graph = |process| Graph::new([sends(1), sends(2), process]).report(&Expect::new());
    assert!(graph(batch([1, 2])).is_ok());
    assert_eq!(graph(batch([2, 1])).broken_edges.len(), 2, "each is linked to the other's send");
    let mut lacking = batch([1, 2]);
    lacking.links.pop();
    assert_eq!(graph(lacking).broken_edges[0].fault, Fault::WithoutCreation);
}

#[test]
fn attempts_are_chained_inside_the_process_span() {
    assert_eq!(faults(|s| s[2].parent = None), [Fault::AttemptOutside, Fault::AttemptNotLinked]);
    assert_eq!(faults(|s| s[3].links[0].to = PROCESS), [Fault::AttemptNotLinked]);
    assert_eq!(faults(|s| s[3].links.clear()), [Fault::AttemptNotLinked]);
}

#[test]
fn attempts_whose_process_span_died_with_its_process_are_explained_by_that() {
    let mut spans = pipeline();
    spans.retain(|span| span.id != PROCESS);
    let outside = |graph: Graph| {
        let edges = graph.report(&Expect::new()).broken_edges;
        edges.iter().filter(|edge| edge.fault == Fault::AttemptOutside).count()
    };
    assert!(outside(Graph::new(spans.clone())) > 0);
    assert_eq!(outside(Graph::new(spans).external(PROCESS)), 0);
}

#[test]
fn a_cut_pipeline_is_two_components() {
    let mut spans = pipeline();
    spans[5].links.clear();
    let report = Graph::new(spans).report(&Expect::new().components(1).without_context(1));
    assert_eq!(report.unmet, ["2 components, must be exactly 1"]);
}

#[test]
fn counts_have_bounds() {
    let graph = Graph::new(pipeline());
    for (count, ok) in [
        (Count::from(6), true),
        (Count::from(7), false),
        (Count::from(7..), false),
        (Count::from(5..), true),
        (Count::from(..=5), false),
        (Count::from(1..=6), true),
    ] {
        assert_eq!(graph.check(&Expect::new().spans(count)).is_ok(), ok, "{count}");
    }
}

#[test]
fn the_tree_follows_links_across_traces() {
    let mut spans = pipeline();
    spans[2].status = Outcome::Error("busy".to_owned());
    let graph = Graph::new(spans);
    assert_eq!(graph.origin(STORE), SEND);
    assert_eq!(
        graph.tree(SEND),
        "send in [PRODUCER] 2.5 ms\n\
         └─ ↪ link: process in [CONSUMER] 2.5 ms\n   \
            ├─ attempt [INTERNAL] 2.5 ms ERROR: busy\n   \
            └─ attempt [INTERNAL] 2.5 ms\n      \
               └─ send out [PRODUCER] 2.5 ms\n         \
                  └─ ↪ link: process out [CONSUMER] 2.5 ms\n"
    );
}

#[test]
fn a_long_chain_is_no_recursion() {
    let hop = |n: u64| {
        let span = span(Kind::Producer, id(u128::from(n), n), "send");
        if n == 1 { span } else { span.link(id(u128::from(n - 1), n - 1)) }
    };
    let graph = Graph::new((1..=2_000).map(hop));
    assert_eq!(graph.tree(id(1, 1)).lines().count(), 2_000);
    assert_eq!(graph.check(&Expect::new().components(1)).unwrap().traces, 2_000);
    assert_eq!(graph.origin(id(2_000, 2_000)), id(1, 1));
}

#[test]
fn spans_keep_everything_on_their_way_through_a_file() {
    let folder = Scratch::new("spans");
    let memory = InMemorySpanExporter::default();
    let file = FileExporter::append(folder.path().join("1.jsonl")).unwrap();
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(memory.clone())
        .with_simple_exporter(file.clone())
        .build();
    let tracer = provider.tracer("kit");
    let first = tracer.span_builder("first").with_kind(SpanKind::Producer).start(&tracer);
    let mut second = tracer
        .span_builder("second")
        .with_kind(SpanKind::Consumer)
        .with_attributes([KeyValue::new("s", "3"), KeyValue::new("n", 3), KeyValue::new("b", true)])
        .with_links(vec![opentelemetry::trace::Link::new(
            first.span_context().clone(),
            vec![KeyValue::new("offset", 1)],
            0,
        )])
        .start_with_context(&tracer, &opentelemetry::Context::new().with_span(first));
    second.set_status(Status::error("no"));
    drop(second);
    provider.force_flush().unwrap();

    let spans = read_spans(folder.path()).unwrap();
    let direct: Vec<SpanRecord> =
        memory.get_finished_spans().unwrap().into_iter().map(SpanRecord::from).collect();
    assert_eq!((spans.len(), &spans), (2, &direct));
    let second = spans.iter().find(|span| span.name == "second").unwrap();
    assert_eq!((second.attributes["s"].clone(), second.attributes["n"].clone()), (json!("3"), json!(3)));
    assert_eq!(second.status, Outcome::Error("no".to_owned()));
    assert_eq!(second.id.to_string().parse(), Ok(second.id));
    Graph::new(spans).check(&Expect::new().spans(2).links(1).components(1).without_context(0)).unwrap();

    file.shutdown().unwrap();
    let after = block_on(file.export(Vec::new()));
    assert!(after.is_err(), "an exporter that was shut down says so");
}

/// Runs a future that never waits.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}
