//! FC-50: liveness and readiness.

use crate::{
    Inbox, Site, Stage,
    steps::{hush_injected_panics, note},
    within,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use throughline::{Message, Restarts, Worker, WorkerHandle, WorkerState, handler, handler_with};
use throughline_test::fault::StallLayer;
use tower::ServiceBuilder;

/// In each state: whether it is live, and whether it is ready.
pub async fn liveness_and_readiness_follow_the_state<B: Site>(broker: &B) {
    hush_injected_panics();
    let mut stage = Stage::new(broker);
    let topic = stage.topic(1).await;
    let (told, _inbox) = Inbox::new();
    let (stall, gate) = StallLayer::new();
    let stack = move || ServiceBuilder::new().layer(stall.clone()).service(handler_with(told.clone(), note));
    let handle = stage.spawn(Worker::new("w", stage.subscription(&topic), stack));
    probe(&handle, WorkerState::Running, true, true).await;
    handle.pause();
    probe(&handle, WorkerState::Paused, true, true).await;
    handle.resume();
    probe(&handle, WorkerState::Running, true, true).await;
    stage.publisher(&topic).send(Message::new("1")).await.unwrap();
    within("a handler runs", gate.until_held(1)).await;
    handle.stop(Duration::from_secs(60));
    probe(&handle, WorkerState::Draining, true, false).await;
    gate.open();
    probe(&handle, WorkerState::Stopped { clean: true }, true, true).await;

    let broken = Arc::new(AtomicBool::new(true));
    let at_start = broken.clone();
    let stack = move || {
        assert!(!at_start.load(Ordering::SeqCst), "injected panic in the factory");
        handler(|_: Message| async {})
    };
    let restarts = Restarts { at_most: 1, first: Duration::from_millis(200), ..Restarts::default() };
    let handle = stage.spawn(Worker::new("broken", stage.subscription(&topic), stack).restarts(restarts));
    probe(&handle, WorkerState::BackingOff, true, false).await;
    probe(&handle, WorkerState::Failed, false, false).await;
    let error = within("the end", stage.runtime().until(std::future::ready(()))).await.unwrap_err();
    assert_eq!(error.worker(), Some("broken"));
}

async fn probe(handle: &WorkerHandle, state: WorkerState, live: bool, ready: bool) {
    let status = within("the state", handle.reached(|now| now == state)).await;
    assert_eq!(status.state, state);
    assert_eq!((status.is_live(), status.is_ready()), (live, ready), "{status:?}");
}
