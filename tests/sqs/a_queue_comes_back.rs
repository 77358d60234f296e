//! The queue is deleted while a worker runs, and made again, as by an infrastructure tool that replaces it.

use crate::site::{Account, client};
use std::time::{Duration, Instant};
use throughline::{Error, ErrorKind, Message, State, Worker, handler_with};
use throughline_test::conformance::Broker;
use throughline_tests::{Inbox, Stage, Told, until, within};

const AWAY: Duration = Duration::from_secs(3);
/// From its return on, until messages are handled: the longest wait after a refusal, and a poll.
const HEALED: Duration = Duration::from_secs(15);

/// Meanwhile the worker says which queue is missing and is not ready, and a send says the same; afterwards both work, by a
/// worker and a sink that nobody made anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_worker_names_it_while_it_is_away_and_heals_by_itself() {
    let broker = Account::new();
    let mut stage = Stage::new(&broker);
    let queue = stage.topic(1).await;
    let (told, mut inbox) = Inbox::new();
    let handle =
        stage.spawn(Worker::new("w", stage.subscription(&queue), move || handler_with(told.clone(), note)));
    let publisher = stage.publisher(&queue);
    publisher.send(Message::new("before")).await.unwrap();
    inbox.next().await;
    client().delete_queue().queue_url(broker.url(&queue).await).send().await.unwrap();
    let gone = Instant::now();
    until("it says what is missing", || {
        let status = handle.status();
        !status.is_ready() && status.error.is_some_and(|error| error.contains(&queue))
    })
    .await;
    let error = publisher.send(Message::new("lost")).await.unwrap_err().downcast::<Error>().unwrap();
    assert_eq!((error.kind(), error.resource()), (ErrorKind::NotFound, &*queue));
    tokio::time::sleep_until((gone + AWAY).into()).await;
    broker.create_topic(&queue, 1).await.unwrap();
    let back = Instant::now();
    publisher.send(Message::new("after")).await.unwrap();
    let after = within("it is handled", inbox.next()).await;
    assert_eq!(after.payload().as_ref(), b"after");
    assert!(back.elapsed() < HEALED, "{:?}", back.elapsed());
    assert!(handle.status().is_ready() && handle.status().restarts == 0);
    stage.end().await;
}

async fn note(message: Message, State(told): State<Told>) {
    told.tell(message);
}
