//! A stop ends in its time, whatever the server and the handlers do.

use crate::{fake::Script, note, site::Own, text};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use throughline::{Capacity, Demand, Message, Source, State, Step, Subscription, Worker, handler_with};
use throughline_tests::{Inbox, Stage, Told, until, within};
use tokio::sync::Notify;

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
        let mut stage = Stage::new(&broker);
        let (told, mut inbox) = Inbox::new();
        stage.spawn(Worker::new("w", stage.subscription("t"), move || handler_with(told.clone(), note)));
        assert_eq!(text(&inbox.next().await), "a", "it comes again");
        stage.end().await;
    }
}

async fn for_ever(message: Message, State(told): State<Told>) {
    told.tell(message);
    std::future::pending().await
}

/// Of what nobody will ever answer for the source lets go when it is closed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leaked_message_holds_up_nothing() {
    for exactly_once in [false, true] {
        let broker = Own::start(Script { exactly_once, ..Script::default() }).await;
        broker.put(["a"]);
        let (control, demand) = Demand::new(Capacity { messages: 1, bytes: usize::MAX });
        let subscription = broker.pubsub.subscribe("s");
        let mut source = within("a source", subscription.subscribe(demand, Arc::new(()))).await.unwrap();
        let came = within("a message", source.receive()).await.unwrap();
        assert_eq!(came.len(), 1);
        std::mem::forget(came);
        control.stop();
        source.close(Instant::now() + GRACE).await.unwrap();
        assert_eq!(broker.nacked(), ["a"], "exactly once: {exactly_once}");
    }
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

/// What was not started when the stop began is given back at once: what is held here, and what the client has left of its
/// response. Nobody waits for the handler that still runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_started_is_given_back_at_once() {
    const MESSAGES: usize = 20;
    const BUFFER: usize = 3;
    for exactly_once in [false, true] {
        let script = Script { exactly_once, obeys_flow: false, per_response: MESSAGES, ..Script::default() };
        let broker = Own::start(script).await;
        broker.put(0..MESSAGES);
        let mut stage = Stage::new(&broker);
        let (told, mut inbox) = Inbox::new();
        let go_on = Arc::new(Notify::new());
        let state = (told, go_on.clone());
        let subscription = stage.subscription("t").buffer(BUFFER).lease(Duration::from_secs(600));
        let stack = move || handler_with(state.clone(), until_told);
        stage.spawn(Worker::new("w", subscription, stack).in_flight(1));
        inbox.next().await;
        let stopping = tokio::spawn(stage.runtime().until(std::future::ready(())));
        until("the others are given back", || broker.nacked().len() == MESSAGES - 1).await;
        assert!(broker.acked().is_empty() && !stopping.is_finished(), "it still runs");
        go_on.notify_one();
        stopping.await.unwrap().unwrap();
        assert_eq!((broker.acked().len(), broker.held()), (1, (0, MESSAGES - 1)));
        assert!(inbox.is_empty());
    }
}

async fn until_told(message: Message, State((told, go_on)): State<(Told, Arc<Notify>)>) {
    told.tell(message);
    go_on.notified().await;
}

/// A pause of some seconds lets others have what is not started, and keeps what runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_gives_back_what_is_not_started() {
    let broker = Own::start(Script::default()).await;
    broker.put(0..3);
    let mut stage = Stage::new(&broker);
    let (told, mut inbox) = Inbox::new();
    let go_on = Arc::new(Notify::new());
    let state = (told, go_on.clone());
    let stack = move || handler_with(state.clone(), until_told);
    let handle = stage.spawn(Worker::new("w", stage.subscription("t").buffer(2), stack).in_flight(1));
    inbox.next().await;
    until("the others are here", || broker.held() == (3, 0)).await;
    handle.pause();
    until("the others are given back", || broker.nacked().len() == 2).await;
    assert_eq!((broker.held(), inbox.is_empty()), ((1, 2), true));
    assert!(broker.streams()[0].closed.is_some());
    go_on.notify_one();
    until("the running one is done", || broker.acked().len() == 1).await;
    handle.resume();
    for _ in 0..2 {
        inbox.next().await;
        go_on.notify_one();
    }
    stage.end().await;
}
