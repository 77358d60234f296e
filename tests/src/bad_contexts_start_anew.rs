//! Messages whose context is missing, malformed or there more than once, as other clients send them.

use crate::{
    Inbox, Site, Stage,
    steps::{named, note, parse},
};
use bytes::Bytes;
use throughline::{ByteString, Message, Worker, handler_with};
use throughline_test::{Expect, Graph};
use tower::ServiceExt;

const A: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const B_: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// No context: the process span is a root without a link, and says nothing of a fault.
pub async fn without_a_context_a_trace_begins<B: Site>(broker: &B) {
    let null = headers(&[("traceparent", None), ("tracestate", None)]);
    let (graph, topic) = handle(broker, [Message::new("plain"), null]).await;
    graph.check(&Expect::new().spans(2).process_spans(2).links(0).without_context(2).components(2)).unwrap();
    for span in named(&graph, &format!("{} {topic}", B::PROCESS)) {
        assert!(span.parent.is_none() && span.status.is_unset());
        assert_eq!(span.text("throughline.context.invalid"), None);
    }
}

/// A malformed context counts as absent, and is marked.
pub async fn a_malformed_context_counts_as_absent<B: Site>(broker: &B) {
    let bad: [&[u8]; 7] = [
        b"",
        b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        b"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        b"00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        b"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        b"\xff\xfe",
    ];
    let messages = bad.map(|value| headers(&[("traceparent", Some(value)), ("tracestate", Some(b"a=1"))]));
    let (graph, topic) = handle(broker, messages).await;
    graph.check(&Expect::new().spans(7).process_spans(7).links(0).without_context(7).components(7)).unwrap();
    for span in named(&graph, &format!("{} {topic}", B::PROCESS)) {
        assert!(span.parent.is_none() && span.status.is_unset() && span.tracestate.is_empty(), "{span:?}");
        assert_eq!(span.text("throughline.context.invalid").as_deref(), Some("true"), "{span:?}");
    }
}

/// Of several contexts the last that is valid counts, and an exact name before one in another case.
pub async fn of_several_contexts_the_last_valid_one_counts<B: Site>(broker: &B) {
    let (a, b): (Option<&[u8]>, Option<&[u8]>) = (Some(A.as_bytes()), Some(B_.as_bytes()));
    let messages = [
        headers(&[("traceparent", b), ("traceparent", a)]),
        headers(&[("traceparent", a), ("traceparent", Some(b"nonsense"))]),
        headers(&[("traceparent", b), ("traceparent", a), ("traceparent", None)]),
        headers(&[("traceparent", a), ("Traceparent", b)]),
        headers(&[("TRACEPARENT", a)]),
    ];
    let (graph, topic) = handle(broker, messages).await;
    let (a, graph) = (parse(A), graph.external(parse(A)).external(parse(B_)));
    graph.check(&Expect::new().spans(5).process_spans(5).links(5).components(1)).unwrap();
    for span in named(&graph, &format!("{} {topic}", B::PROCESS)) {
        assert_eq!(span.links[0].to, a, "{span:?}");
    }
}

fn headers(list: &[(&'static str, Option<&'static [u8]>)]) -> Message {
    let mut message = Message::new("foreign");
    for (name, value) in list {
        message.headers_mut().append(ByteString::from_static(name), value.map(Bytes::from_static));
    }
    message
}

/// Sends without a publisher of ours, handles all, and gives the spans and the topic.
async fn handle<B: Site>(broker: &B, messages: impl IntoIterator<Item = Message>) -> (Graph, String) {
    let mut stage = Stage::new(broker);
    let topic = stage.topic(1).await;
    let (told, mut inbox) = Inbox::new();
    stage.spawn(Worker::new("w", stage.subscription(&topic), move || handler_with(told.clone(), note)));
    let mut sent = Vec::new();
    for message in messages {
        sent.push(message.headers().clone());
        broker.sink(&topic).oneshot(message).await.unwrap();
    }
    for arrived in inbox.take(sent.len()).await {
        assert!(sent.contains(arrived.headers()), "the headers are delivered as they were sent");
    }
    (stage.end().await, topic)
}
