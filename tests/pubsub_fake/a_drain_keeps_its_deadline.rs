//! A stop ends in its time, whatever the server and the handlers do.

use crate::{fake::Script, note, site::Own};
use std::time::{Duration, Instant};
use throughline::{Message, State, Step, Worker, handler_with};
use throughline_tests::{Inbox, Stage, Told, until};

const GRACE: Duration = Duration::from_secs(3);

async fn stop(mut stage: Stage<'_, Own>) -> Option<Step> {
    let since = Instant::now();
    let ended = stage.runtime().grace(GRACE).until(std::future::ready(())).await;
    assert!(since.elapsed() < GRACE + Duration::from_secs(1), "{:?}", since.elapsed());
    ended.err().map(|error| error.step())
}

/// A handler that never ends is cut off, also where the service confirms: its message is given back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_does_not_end_holds_up_nothing() {
    for exactly_once in [false, true] {
        let broker = Own::start(Script { exactly_once, ..Script::default() }).await;
        broker.put(["a"]);
        let mut stage = Stage::new(&broker);
        let (told, mut inbox) = Inbox::new();
        let stack = move || handler_with(told.clone(), for_ever);
        stage.spawn(Worker::new("w", stage.subscription("t"), stack));
        inbox.next().await;
        assert_eq!(stop(stage).await, Some(Step::Handlers), "exactly once: {exactly_once}");
        until("it is given back", || broker.nacked() == ["a"]).await;
    }
}

async fn for_ever(message: Message, State(told): State<Told>) {
    told.tell(message);
    std::future::pending().await
}

/// Acknowledgements that are never confirmed, and a server that answers nothing at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_answer_holds_up_nothing() {
    for exactly_once in [false, true] {
        let broker = Own::start(Script { exactly_once, holds_acks: true, ..Script::default() }).await;
        broker.put(["a"]);
        let mut stage = Stage::new(&broker);
        let (told, mut inbox) = Inbox::new();
        let stack = move || handler_with(told.clone(), note);
        stage.spawn(Worker::new("w", stage.subscription("t"), stack));
        inbox.next().await;
        until("the acknowledgement is on its way", || !broker.calls("Acknowledge").is_empty()).await;
        broker.change(|script| script.frozen = true);
        assert!(stop(stage).await.is_some(), "exactly once: {exactly_once}");
    }
}
