//! FC-20 and FC-21: stopping while a poll is open, and while handlers run.

use crate::site::{Account, client};
use std::time::{Duration, Instant};
use throughline::{Message, State, Worker, handler_with, sqs::SqsSubscription};
use throughline_test::conformance::{Broker, Start};
use throughline_tests::{Inbox, Stage, Told, within};

/// FC-20: the poll that is open at the stop answers a second later. No handler starts, and another receiver sees all ten
/// messages at once, though they would be hidden for a minute.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_open_poll_brings_after_the_stop_is_visible_again() {
    let broker = Account::new();
    let mut stage = Stage::new(&broker);
    let queue = stage.topic(1).await;
    let (told, inbox) = Inbox::new();
    let subscription =
        stage.subscription(&queue).wait(Duration::from_secs(20)).visibility(Duration::from_secs(60));
    let handle = stage.spawn(Worker::new("w", subscription, move || handler_with(told.clone(), note)));
    within("it runs", handle.reached(|state| state == throughline::WorkerState::Running)).await;
    // Not for a condition: nobody outside can see that a poll is open.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let runtime = stage.runtime().grace(Duration::from_secs(30));
    let since = Instant::now();
    let ended = tokio::spawn(async move { runtime.until(std::future::ready(())).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let messages = (0..10).map(|n| Message::new(n.to_string()));
    assert!(stage.publisher(&queue).send_all(messages).await.iter().all(Result::is_ok));
    let sent = Instant::now();
    let url = broker.url(&queue).await;
    let mut seen = 0;
    while seen < 10 {
        let ask = client().receive_message().queue_url(&url).max_number_of_messages(10).wait_time_seconds(1);
        seen += ask.send().await.unwrap().messages.unwrap_or_default().len();
        assert!(
            sent.elapsed() < Duration::from_secs(2) || seen >= 10,
            "{seen} of 10 after {:?}",
            sent.elapsed()
        );
    }
    within("the end", ended).await.unwrap().unwrap();
    assert!(since.elapsed() < Duration::from_secs(10), "exited {:?} after the stop", since.elapsed());
    assert!(inbox.is_empty(), "no handler starts");
}

/// FC-21: with a queue that allows one receive, a stop sends nothing healthy to its dead letters: no more is received than
/// can be started, and what runs is finished.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollout_moves_no_healthy_message_to_the_dead_letters() {
    const MESSAGES: usize = 10;
    let broker = Account::new();
    let mut stage = Stage::new(&broker);
    let (queue, dead) = (stage.topic(1).await, stage.topic(1).await);
    broker.redrive(&queue, 1, &dead).await;
    let messages = (0..MESSAGES).map(|n| Message::new(n.to_string()));
    assert!(stage.publisher(&queue).send_all(messages).await.iter().all(Result::is_ok));
    let ((started, mut starts), (told, mut done)) = (Inbox::new(), Inbox::new());
    let worker = || {
        let state = (started.clone(), told.clone());
        let stack = move || handler_with(state.clone(), slowly);
        Worker::new("w", stage_subscription(&broker, &queue), stack).in_flight(2)
    };
    for _ in 0..2 {
        let handle = stage.spawn(worker());
        // Stopped while both run: then no poll is open, as there is no room.
        starts.take(2).await;
        assert!(handle.status().waiting <= 2, "received and not started");
        stage.drain().await;
        assert_eq!(done.take(2).await.len(), 2);
    }
    stage.spawn(worker());
    starts.take(MESSAGES - 4).await;
    done.take(MESSAGES - 4).await;
    stage.drain().await;
    assert_eq!((broker.counts(&queue).await, broker.counts(&dead).await), ([0; 3], [0; 3]));
    assert!(starts.is_empty(), "each once");
}

fn stage_subscription(broker: &Account, queue: &str) -> SqsSubscription {
    broker.subscription(queue, "", Start::Earliest)
}

async fn note(message: Message, State(told): State<Told>) {
    told.tell(message);
}

async fn slowly(message: Message, State((started, told)): State<(Told, Told)>) {
    started.tell(message.clone());
    tokio::time::sleep(Duration::from_millis(700)).await; // the work
    told.tell(message);
}
