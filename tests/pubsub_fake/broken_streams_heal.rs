//! Streams that break or are refused: everything heals alone and nothing is lost.

use crate::{fake::Script, note, site::Own, text};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};
use throughline::{Worker, handler_with};
use throughline_tests::{Inbox, Stage, until};
use tonic::Status;

const MESSAGES: usize = 1_000;

/// The service ends streams from time to time, with one or another reason, and an expired token ends one for good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_break_lose_nothing() {
    let broker = Own::start(Script::default()).await;
    let mut stage = Stage::new(&broker);
    let (told, mut inbox) = Inbox::new();
    let stack = move || handler_with(told.clone(), note);
    let handle = stage.spawn(Worker::new("w", stage.subscription("t"), stack));
    let reasons =
        [Status::unavailable("restart"), Status::internal("reset"), Status::unauthenticated("expired")];
    let mut seen = BTreeSet::new();
    for (n, reason) in reasons.iter().cycle().take(6).enumerate() {
        broker.put((0..MESSAGES / 6).map(|m| m * 6 + n));
        seen.insert(text(&inbox.next().await));
        broker.reset(reason.clone());
        until("it is opened again", || broker.streams().len() > n + 1).await;
    }
    let all = MESSAGES / 6 * 6;
    while seen.len() < all {
        seen.insert(text(&inbox.next().await));
    }
    until("all are done", || broker.held() == (0, 0)).await;
    until("it is back", || !handle.status().reconnecting).await;
    // One that was opened by the client itself is left for a fresh one where the server was thought to be away.
    let opened = broker.streams().len();
    assert!((7..=13).contains(&opened), "{opened} streams after six breaks");
    stage.end().await;
}

/// A subscription that is not there is asked for seldom, and is found soon after it is made.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_that_is_gone_is_asked_for_seldom() {
    const GONE: Duration = Duration::from_secs(12);
    let broker = Own::start(Script::default()).await;
    let mut stage = Stage::new(&broker);
    let (told, mut inbox) = Inbox::new();
    let stack = move || handler_with(told.clone(), note);
    let handle = stage.spawn(Worker::new("w", stage.subscription("t"), stack));
    broker.put([1]);
    inbox.next().await;
    let gone = Status::not_found("Resource not found (resource=s).");
    broker.change(|script| script.refusal = Some(gone.clone()));
    let before = broker.all_calls().len();
    broker.reset(gone);
    until("it is told", || {
        handle.status().error.is_some_and(|error| error.contains("projects/p/subscriptions/s"))
    })
    .await;
    assert!(!handle.status().is_ready());
    // How often it is tried shows in time alone.
    tokio::time::sleep(GONE).await;
    let tries = broker.all_calls().len() - before;
    assert!(tries <= 10, "{tries} calls in {GONE:?}");
    broker.change(|script| script.refusal = None);
    broker.put(2..=6);
    let since = Instant::now();
    inbox.take(5).await;
    assert!(since.elapsed() < Duration::from_secs(30), "{:?}", since.elapsed());
    until("it is back", || handle.status().is_ready()).await;
    stage.end().await;
}
