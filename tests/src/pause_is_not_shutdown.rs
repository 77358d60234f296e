//! FC-49: a pause is a pause.

use crate::{
    Inbox, Site, Stage,
    steps::{note, text},
    until, within,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use throughline::{Message, Restarts, Worker, WorkerHandle, WorkerState, handler_with};
use throughline_test::{Expect, fault::StallLayer};
use tower::ServiceBuilder;

/// How soon messages flow again.
const SOON: Duration = Duration::from_secs(1);

/// Paused with nothing in flight, for two seconds: nothing is handled, nothing ends; a second after the resume
/// everything flows.
pub async fn an_idle_worker_is_paused_and_resumes<B: Site>(broker: &B) {
    let mut stage = Stage::new(broker);
    let topic = stage.topic(1).await;
    let (told, mut inbox) = Inbox::new();
    let handle =
        stage.spawn(Worker::new("w", stage.subscription(&topic), move || handler_with(told.clone(), note)));
    reached(&handle, WorkerState::Running).await;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(stage.runtime().until(stopped));
    handle.pause();
    reached(&handle, WorkerState::Paused).await;
    stage.publisher(&topic).send(Message::new("1")).await.unwrap();
    // Not for a condition: that nothing happens in this time is what is shown.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(inbox.is_empty() && !running.is_finished());
    assert_eq!(handle.status().state, WorkerState::Paused);
    let since = Instant::now();
    handle.resume();
    inbox.next().await;
    assert!(since.elapsed() < SOON, "{:?} after the resume", since.elapsed());
    reached(&handle, WorkerState::Running).await;
    stop.send(()).unwrap();
    within("the end", running).await.unwrap().unwrap();
    stage.end().await.check(&Expect::new().spans(2).sends(1).process_spans(1).components(1)).unwrap();
}

/// Paused with one in flight: it keeps its message and finishes, and is acknowledged.
pub async fn a_running_handler_keeps_its_message_while_paused<B: Site>(broker: &B) {
    let mut stage = Stage::new(broker);
    let topic = stage.topic(1).await;
    let ((told, mut inbox), (stall, gate)) = (Inbox::new(), StallLayer::new());
    let stack = move || ServiceBuilder::new().layer(stall.clone()).service(handler_with(told.clone(), note));
    let handle = stage.spawn(Worker::new("w", stage.subscription(&topic), stack));
    let publisher = stage.publisher(&topic);
    publisher.send(Message::new("1")).await.unwrap();
    within("it runs", gate.until_held(1)).await;
    handle.pause();
    reached(&handle, WorkerState::Paused).await;
    publisher.send(Message::new("2")).await.unwrap();
    until("it still runs", || handle.status().in_flight == 1).await;
    gate.open();
    let first = inbox.next().await;
    assert_eq!(text(&first), "1");
    assert!(!first.lease().is_lost());
    until("it is acknowledged", || handle.status().counts.acked == 1).await;
    assert!(inbox.is_empty(), "the second is not begun");
    let since = Instant::now();
    handle.resume();
    assert_eq!(text(&inbox.next().await), "2");
    assert!(since.elapsed() < SOON, "{:?} after the resume", since.elapsed());
    assert_eq!(handle.status().counts.lease_lost, 0);
    stage.end().await.check(&Expect::new().spans(4).sends(2).process_spans(2).components(2)).unwrap();
}

/// A paused worker drains: nothing of what waits is begun, and all of it comes to the next one.
pub async fn a_paused_worker_drains<B: Site>(broker: &B) {
    let mut stage = Stage::new(broker);
    let topic = stage.topic(1).await;
    let (told, mut inbox) = Inbox::new();
    let again = told.clone();
    let handle =
        stage.spawn(Worker::new("w", stage.subscription(&topic), move || handler_with(told.clone(), note)));
    reached(&handle, WorkerState::Running).await;
    handle.pause();
    reached(&handle, WorkerState::Paused).await;
    stage.publisher(&topic).send(Message::new("1")).await.unwrap();
    stage.drain().await;
    assert_eq!(handle.status().state, WorkerState::Stopped { clean: true });
    assert!(inbox.is_empty());
    stage.spawn(Worker::new("w", stage.subscription(&topic), move || handler_with(again.clone(), note)));
    inbox.next().await;
    stage.end().await.check(&Expect::new().spans(2).sends(1).process_spans(1).components(1)).unwrap();
}

/// Paused while it waits for a restart: it starts paused, and goes on when told.
pub async fn a_pause_while_backing_off_holds<B: Site>(broker: &B) {
    crate::steps::hush_injected_panics();
    let mut stage = Stage::new(broker);
    let topic = stage.topic(1).await;
    let (told, mut inbox) = Inbox::new();
    let broken = Arc::new(AtomicBool::new(true));
    let at_start = broken.clone();
    let stack = move || {
        assert!(!at_start.load(Ordering::SeqCst), "injected panic in the factory");
        handler_with(told.clone(), note)
    };
    let restarts = Restarts { first: Duration::from_millis(300), ..Restarts::default() };
    let handle = stage.spawn(Worker::new("w", stage.subscription(&topic), stack).restarts(restarts));
    reached(&handle, WorkerState::BackingOff).await;
    handle.pause();
    stage.publisher(&topic).send(Message::new("1")).await.unwrap();
    broken.store(false, Ordering::SeqCst);
    reached(&handle, WorkerState::Paused).await;
    assert!(inbox.is_empty());
    let since = Instant::now();
    handle.resume();
    inbox.next().await;
    assert!(since.elapsed() < Duration::from_secs(10), "{:?} after the resume", since.elapsed());
    reached(&handle, WorkerState::Running).await;
    stage.end().await.check(&Expect::new().spans(2).sends(1).process_spans(1).components(1)).unwrap();
}

async fn reached(handle: &WorkerHandle, state: WorkerState) {
    within("the state", handle.reached(|now| now == state)).await;
}
