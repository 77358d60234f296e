//! tower's Buffer, whose worker task knows nothing of the caller's context.

use crate::{
    Inbox, Site, Stage,
    steps::{named, note, pass_on},
};
use throughline::{Message, Worker, handler_with};
use throughline_test::Expect;
use tower::{ServiceBuilder, buffer::BufferLayer};

const MESSAGES: usize = 10;

/// A Buffer around the handler and one around the publisher: each send stays below its message's process span.
pub async fn buffers_around_handler_and_publisher_cut_nothing<B: Site>(broker: &B) {
    let mut stage = Stage::new(broker);
    let (first, second) = (stage.topic(1).await, stage.topic(1).await);
    let onward = stage.publisher(&second).layer(BufferLayer::new(4));
    let (told, mut inbox) = Inbox::new();
    stage.spawn(Worker::new("first", stage.subscription(&first), move || {
        ServiceBuilder::new().layer(BufferLayer::new(4)).service(handler_with(onward.clone(), pass_on))
    }));
    stage.spawn(Worker::new("second", stage.subscription(&second), move || handler_with(told.clone(), note)));
    let receipts = stage.publisher(&first).send_all((0..MESSAGES).map(|n| Message::new(n.to_string()))).await;
    assert!(receipts.iter().all(Result::is_ok));
    inbox.take(MESSAGES).await;
    let graph = stage.end().await;

    let expect = Expect::new()
        .spans(4 * MESSAGES)
        .sends(2 * MESSAGES)
        .process_spans(2 * MESSAGES)
        .links(2 * MESSAGES)
        .traces(3 * MESSAGES)
        .components(MESSAGES);
    graph.check(&expect).unwrap();
    let parents: Vec<_> = named(&graph, &format!("send {second}")).iter().map(|send| send.parent).collect();
    for process in named(&graph, &format!("{} {first}", B::PROCESS)) {
        let below = parents.iter().filter(|parent| **parent == Some(process.id)).count();
        assert_eq!(below, 1, "one send below each message");
    }
}
