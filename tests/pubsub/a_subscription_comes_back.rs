//! FC-32: the subscription is deleted while a worker runs, and made again.

use crate::site::{Project, full};
use std::time::{Duration, Instant};
use throughline::{Message, State, Worker, handler_with};
use throughline_tests::{Inbox, Stage, Told, until, within};

/// For how long it is away.
const AWAY: Duration = Duration::from_secs(30);
/// From its return on, until messages are handled.
const HEALED: Duration = Duration::from_secs(30);
const MESSAGES: usize = 5;

/// Meanwhile the worker says which one is missing, is not ready, and does not ask like mad; afterwards it works again,
/// with nobody's help.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_worker_names_it_while_it_is_away_and_heals_by_itself() {
    let broker = Project::new();
    let mut stage = Stage::new(&broker);
    let topic = stage.topic(1).await;
    let (told, mut inbox) = Inbox::new();
    let stack = move || handler_with(told.clone(), note);
    let handle = stage.spawn(Worker::new("w", stage.subscription(&topic), stack));
    stage.publish(&topic, 0..1).await;
    inbox.next().await;
    until("it is done", || handle.status().counts.acked == 1).await;
    let subscription = full("subscriptions", &Project::subscription_of(&topic));
    let raw = broker.subscriptions().await;
    raw.delete_subscription().set_subscription(&subscription).send().await.unwrap();
    let gone = Instant::now();
    until("the worker tells", || !handle.status().is_ready()).await;
    until("it names what is missing", || {
        let status = handle.status();
        status.error.is_some_and(|error| error.contains(&subscription) && error.contains("NOT_FOUND"))
    })
    .await;
    tokio::time::sleep_until((gone + AWAY).into()).await;
    let status = handle.status();
    assert!(!status.is_ready() && status.restarts <= 20, "{status:?}");
    broker.create(&topic, |new| new.ordering(true)).await.unwrap();
    let back = Instant::now();
    stage.publish(&topic, 1..1 + MESSAGES as u64).await;
    within("they are handled", inbox.take(MESSAGES)).await;
    println!("handled {:?} after the subscription was there again", back.elapsed());
    assert!(back.elapsed() < HEALED, "{:?}", back.elapsed());
    stage.end().await;
}

async fn note(message: Message, State(told): State<Told>) {
    told.tell(message);
}
