//! The plain hop: publish, handle, publish, handle.

use crate::{
    Inbox, Site, Stage,
    steps::{header, named, note, parse, pass_on},
};
use throughline::{Message, Worker, handler_with};
use throughline_test::{Expect, Kind};

const MESSAGES: usize = 20;

/// Two workers in a chain: every message is one pipeline of two sends and two process spans, each process span the root
/// of a trace with a link to the send that made its message.
pub async fn two_workers_in_a_chain_are_one_pipeline<B: Site>(broker: &B) {
    let mut stage = Stage::new(broker);
    let (first, second) = (stage.topic(2).await, stage.topic(2).await);
    let onward = stage.publisher(&second);
    let (told, mut inbox) = Inbox::new();
    stage.spawn(Worker::new("first", stage.subscription(&first), move || {
        handler_with(onward.clone(), pass_on)
    }));
    stage.spawn(Worker::new("second", stage.subscription(&second), move || handler_with(told.clone(), note)));
    let messages = (0..MESSAGES).map(|n| Message::new(n.to_string()).with_key(format!("key {n}")));
    for receipt in stage.publisher(&first).send_all(messages).await {
        receipt.unwrap();
    }
    let arrived = inbox.take(MESSAGES).await;
    let graph = stage.end().await;

    let expect = Expect::new()
        .spans(4 * MESSAGES)
        .sends(2 * MESSAGES)
        .process_spans(2 * MESSAGES)
        .attempts(0)
        .links(2 * MESSAGES)
        .traces(3 * MESSAGES)
        .components(MESSAGES);
    graph.check(&expect).unwrap();
    for message in &arrived {
        let creation = parse(header(message, "traceparent").unwrap());
        let send = graph.get(creation).expect("the send span whose context the message carries");
        assert_eq!((send.kind, send.name.as_str()), (Kind::Producer, &*format!("send {second}")));
        let process = graph.get(send.parent.expect("sent from a handler")).unwrap();
        assert_eq!(
            (process.kind, process.name.as_str()),
            (Kind::Consumer, &*format!("{} {first}", B::PROCESS))
        );
    }
    for span in named(&graph, &format!("{} {first}", B::PROCESS)) {
        assert!(span.status.is_unset() && span.parent.is_none(), "{span:?}");
        let text = |name| span.text(name).unwrap_or_default();
        assert_eq!(text("messaging.operation.type"), "process");
        assert_eq!(text("messaging.destination.name"), first);
        if broker.features().groups {
            assert_eq!(text("messaging.consumer.group.name"), Stage::<B>::group(&first));
        }
        if broker.features().order_by_partition {
            let partition = &span.attributes["messaging.destination.partition.id"];
            assert!(partition.is_string(), "a partition is a string: {partition}");
        }
    }
}
