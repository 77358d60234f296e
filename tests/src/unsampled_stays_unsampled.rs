//! What others decided about sampling, and what they wrote into the state.

use crate::{
    Inbox, Site, Stage,
    steps::{creation, header, note, parse, pass_on},
};
use throughline::{Message, Relation, Worker, handler_with};
use throughline_test::{Expect, SpanRecord};
use tower::ServiceExt;

/// The random flag is set, the sampled flag is not.
const UNSAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-02";
const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03";
const STATE: &str = "vendor=a:1,other=b";

/// Two hops of an unsampled message export nothing, and pass on its very context: flags and state too.
pub async fn two_hops_record_nothing_and_pass_it_on<B: Site>(broker: &B) {
    for relation in [Relation::Link, Relation::ParentAndLink] {
        let (stage, arrived) = two_hops(broker, UNSAMPLED, relation).await;
        assert_eq!(header(&arrived, "traceparent"), Some(UNSAMPLED));
        assert_eq!(header(&arrived, "tracestate"), Some(STATE));
        let graph = stage.end().await;
        assert!(graph.spans().is_empty(), "{:?}", graph.spans());
    }
}

/// A sampled message's state and random flag come through two hops of one trace.
pub async fn a_sampled_state_comes_through_two_hops<B: Site>(broker: &B) {
    let (stage, arrived) = two_hops(broker, SAMPLED, Relation::ParentAndLink).await;
    assert_eq!(header(&arrived, "tracestate"), Some(STATE));
    let traceparent = header(&arrived, "traceparent").unwrap().to_owned();
    assert!(traceparent.ends_with("-03"), "sampled and random: {traceparent}");
    assert_eq!(creation(&arrived).trace, parse(SAMPLED).trace);
    let graph = stage.end().await.external(parse(SAMPLED));
    let expect = Expect::new().spans(5).sends(2).process_spans(3).links(3).traces(1).components(1);
    graph.check(&expect).unwrap();
    // A settlement is of no one trace.
    let settles = |span: &&SpanRecord| span.text("messaging.operation.type").is_some_and(|of| of == "settle");
    for span in graph.spans().iter().filter(|span| !settles(span)) {
        assert!(span.flags == 3 && span.tracestate == STATE, "{span:?}");
    }
}

/// Three topics, two workers between them, one behind; and what the last one was given.
async fn two_hops<'a, B: Site>(
    broker: &'a B,
    traceparent: &'static str,
    relation: Relation,
) -> (Stage<'a, B>, Message) {
    let mut stage = Stage::with(broker, |telemetry| telemetry.relation(relation));
    let topics = [stage.topic(1).await, stage.topic(1).await, stage.topic(1).await];
    for pair in topics.windows(2) {
        let onward = stage.publisher(&pair[1]);
        stage.spawn(Worker::new("hop", stage.subscription(&pair[0]), move || {
            handler_with(onward.clone(), pass_on)
        }));
    }
    let (told, mut inbox) = Inbox::new();
    stage
        .spawn(Worker::new("last", stage.subscription(&topics[2]), move || handler_with(told.clone(), note)));
    let message = Message::new("1").with_header("traceparent", traceparent).with_header("tracestate", STATE);
    broker.sink(&topics[0]).oneshot(message).await.unwrap();
    let arrived = inbox.next().await;
    stage.drain().await;
    (stage, arrived)
}
