//! Rights that are taken away, a subscription that is detached and a service that is away, while a worker runs.

use crate::{fake::Script, note, site::Own};
use std::time::{Duration, Instant};
use throughline::{Worker, handler_with};
use throughline_tests::{Inbox, Stage, until};
use tonic::Status;

/// The worker is not ready, says what is to be allowed or done, asks seldom, and goes on when it may again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_named_and_its_return_heals() {
    let refusals = [
        (Status::permission_denied("User not authorized"), "pubsub.subscriptions.consume", 10, 15),
        (Status::failed_precondition("The subscription is detached"), "detached", 10, 15),
        // The client by itself tries again in 11 s by then.
        (Status::unavailable("maintenance"), "reached nobody", 14, 6),
    ];
    let one = |(refusal, named, gone, healed): (Status, &'static str, u64, u64)| async move {
        let (gone, healed) = (Duration::from_secs(gone), Duration::from_secs(healed));
        let broker = Own::start(Script::default()).await;
        let mut stage = Stage::new(&broker);
        let (told, mut inbox) = Inbox::new();
        let stack = move || handler_with(told.clone(), note);
        let handle = stage.spawn(Worker::new("w", stage.subscription("t"), stack));
        broker.put([1]);
        inbox.next().await;
        until("it is done", || broker.held() == (0, 0)).await;
        broker.change(|script| script.refusal = Some(refusal.clone()));
        let before = broker.all_calls().len();
        broker.reset(refusal);
        until("it is named", || handle.status().error.is_some_and(|error| error.contains(named))).await;
        assert!(!handle.status().is_ready());
        // How often it is tried shows in time alone.
        tokio::time::sleep(gone).await;
        let tries = broker.all_calls().len() - before;
        assert!(tries <= 12, "{tries} calls in {gone:?}");
        broker.change(|script| script.refusal = None);
        broker.put([2]);
        let since = Instant::now();
        inbox.next().await;
        assert!(since.elapsed() < healed, "{named}: {:?}", since.elapsed());
        until("it is ready", || handle.status().is_ready()).await;
        stage.end().await;
    };
    let [denied, detached, away] = refusals.map(one);
    tokio::join!(denied, detached, away);
}
