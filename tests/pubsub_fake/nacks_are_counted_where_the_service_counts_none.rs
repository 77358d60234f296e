//! How often a message was delivered, on a subscription without a dead-letter policy.

use crate::{fake::Script, site::Own};
use std::time::Duration;
use throughline::{BoxError, Message, Redelay, State, Worker, handler_with};
use throughline_tests::{Inbox, Stage, Told, until};

/// The service says nothing of it, so that nacks are counted here; when it is done, nothing is left of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_knows_how_often_it_was_delivered() {
    let broker = Own::start(Script::default()).await;
    broker.put(["a"]);
    let mut stage = Stage::new(&broker);
    let (told, mut inbox) = Inbox::new();
    let stack = move || handler_with(told.clone(), fail_twice);
    let redelay = Redelay::exponential(Duration::from_millis(50), Duration::from_millis(100));
    let handle = stage.spawn(Worker::new("w", stage.subscription("t"), stack).redelay(redelay));
    for delivery in 1..=3 {
        assert_eq!(inbox.next().await.origin().unwrap().delivery_count, delivery);
    }
    until("it is done", || handle.status().counts.acked == 1).await;
    assert_eq!(broker.nacked(), ["a"; 2]);
    stage.end().await;
}

async fn fail_twice(message: Message, State(told): State<Told>) -> Result<(), BoxError> {
    let delivery = message.origin().map_or(0, |origin| origin.delivery_count);
    told.tell(message);
    if delivery < 3 { Err("not yet".into()) } else { Ok(()) }
}
