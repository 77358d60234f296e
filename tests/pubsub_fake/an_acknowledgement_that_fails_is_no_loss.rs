//! An acknowledgement that does not get through, of which the client says nothing.

use crate::{fake::Script, note, site::Own, text};
use throughline::{Worker, handler_with};
use throughline_tests::{Inbox, Stage, until};
use tonic::Status;

/// The message comes again when its lease is over, and is done then; nothing else is held up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_message_comes_again() {
    let broker =
        Own::start(Script { ack_refusals: vec![Status::unavailable("restart")], ..Script::default() }).await;
    broker.put(["a"]);
    let mut stage = Stage::new(&broker);
    let (told, mut inbox) = Inbox::new();
    let stack = move || handler_with(told.clone(), note);
    stage.spawn(Worker::new("w", stage.subscription("t"), stack));
    assert_eq!(text(&inbox.next().await), "a");
    until("the acknowledgement is refused", || broker.calls("Acknowledge").len() == 1).await;
    broker.put(["b"]);
    assert_eq!(text(&inbox.next().await), "b");
    assert_eq!(text(&inbox.next().await), "a");
    until("both are done", || broker.held() == (0, 0)).await;
    assert_eq!((broker.acked(), broker.expired()), (vec!["b".to_owned(), "a".to_owned()], 1));
    stage.end().await;
}
