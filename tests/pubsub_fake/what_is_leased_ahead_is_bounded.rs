//! Flow control: what is held is bounded by the worker's settings, whether the server obeys its own or not.

use crate::{fake::Script, site::Own};
use std::{sync::Arc, time::Duration};
use throughline::{Message, State, Worker, handler_with};
use throughline_tests::{Inbox, Stage, Told, until};
use tokio::sync::Semaphore;

const IN_FLIGHT: usize = 4;
const BUFFER: usize = 3;
const BACKLOG: usize = 200;
/// As short as it may be: then it is extended soon.
const LEASE: Duration = Duration::from_secs(10);

/// A server that obeys is told how much fits, and leases no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_is_told_how_much_fits() {
    let broker = Own::start(Script::default()).await;
    flood(&broker, |broker| {
        assert_eq!(broker.most_leased(), IN_FLIGHT + BUFFER);
        let request = &broker.streams()[0].request;
        assert_eq!(request.max_outstanding_messages, (IN_FLIGHT + BUFFER) as i64);
        assert_eq!(request.max_outstanding_bytes, 1 << 20);
    })
    .await;
}

/// From a server that sends on and on, no more is read than the response that filled it up: what was not read is not leased
/// by us, and comes when there is room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_a_server_that_does_not_obey_no_more_is_read_than_one_response() {
    let script = Script { obeys_flow: false, per_response: 5, ..Script::default() };
    let broker = Own::start(script).await;
    flood(&broker, |broker| {
        // Seven fit: two responses were begun.
        assert_eq!(broker.extended().len(), 10);
    })
    .await;
}

async fn flood(broker: &Own, check: impl Fn(&Own)) {
    broker.put(0..BACKLOG);
    let mut stage = Stage::new(broker);
    let ((told, mut inbox), gate) = (Inbox::new(), Arc::new(Semaphore::new(0)));
    let state = (told, gate.clone());
    let subscription = stage.subscription("t").buffer(BUFFER).buffer_bytes(1 << 20).lease(LEASE);
    let stack = move || handler_with(state.clone(), held);
    let handle = stage.spawn(Worker::new("w", subscription, stack).in_flight(IN_FLIGHT));
    inbox.take(IN_FLIGHT).await;
    // What was read is extended soon after, and then again: by then all that will be has been.
    until("leases are extended twice", || broker.calls("ModifyAckDeadline").len() >= 2).await;
    check(broker);
    assert_eq!(handle.status().in_flight, IN_FLIGHT);
    gate.add_permits(BACKLOG);
    inbox.take(BACKLOG - IN_FLIGHT).await;
    until("all are done", || broker.held() == (0, 0)).await;
    assert!(inbox.is_empty(), "each once");
    assert_eq!(broker.expired(), 0);
    stage.end().await;
}

async fn held(message: Message, State((told, gate)): State<(Told, Arc<Semaphore>)>) {
    told.tell(message);
    gate.acquire().await.unwrap().forget();
}
