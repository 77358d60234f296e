//! FC-35: what an exactly-once subscription confirms, and what it refuses.

use crate::{
    fake::{PERMANENT, Script},
    note,
    site::Own,
    text,
};
use std::{collections::BTreeSet, time::Duration};
use throughline::{Message, State, Worker, handler_with};
use throughline_tests::{Inbox, Stage, Told, until};

const MESSAGES: usize = 12;
const IN_FLIGHT: usize = 2;
/// Longer than the lease, so that it is extended, for what runs and for what waits.
const WORK: Duration = Duration::from_secs(12);
const LEASE: Duration = Duration::from_secs(10);

/// A backlog of twelve, two at a time, each for longer than its lease: every one is handled once, few wait leased, and the
/// one whose acknowledgement the service refuses is counted as not settled, and never as a success.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_acknowledgement_is_an_error_and_never_a_success() {
    let ack_failures = [("7".to_owned(), vec![PERMANENT])].into();
    let broker = Own::start(Script { exactly_once: true, ack_failures, ..Script::default() }).await;
    broker.put(0..MESSAGES);
    let mut stage = Stage::new(&broker);
    let (told, mut inbox) = Inbox::new();
    let subscription = stage.subscription("t").lease(LEASE);
    let stack = move || handler_with(told.clone(), slowly);
    let handle = stage.spawn(Worker::new("w", subscription, stack).in_flight(IN_FLIGHT));
    // Two at a time, this takes longer than anything else here: each half has a bound of its own.
    let mut handled = inbox.take(MESSAGES / 2).await;
    handled.extend(inbox.take(MESSAGES / 2).await);
    until("everything is answered", || {
        let counts = handle.status().counts;
        counts.acked + counts.settle_failed == MESSAGES as u64
    })
    .await;
    assert_eq!(broker.held(), (0, 0));

    let bodies: BTreeSet<_> = handled.iter().map(text).collect();
    assert_eq!(bodies.len(), MESSAGES, "each was handled once");
    assert!(inbox.is_empty());
    assert_eq!(broker.expired(), 0, "no lease ran out");
    assert!(broker.most_leased() <= 2 * IN_FLIGHT, "{} were leased at once", broker.most_leased());
    let counts = handle.status().counts;
    assert_eq!((counts.acked, counts.nacked, counts.settle_failed), (MESSAGES as u64 - 1, 0, 1));
    let measures = stage.measures().await;
    let lost = [("error.type", "lease_lost"), ("messaging.operation.name", "ack")];
    assert_eq!(measures.sum("messaging.client.operation.duration", &lost), 1.0);
    let graph = stage.end().await;
    let errors = |name: &str| {
        let named = graph.spans().iter().filter(|span| span.name == name);
        named.filter_map(|span| span.text("error.type")).collect::<Vec<_>>()
    };
    assert_eq!(errors("ack t"), ["lease_lost"]);
}

async fn slowly(message: Message, State(told): State<Told>) {
    tokio::time::sleep(WORK).await; // the work
    told.tell(message);
}

/// As long as the service has not confirmed, the message counts as running and is not done; a refusal that passes is tried
/// again by the client until it has passed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_is_done_when_its_acknowledgement_is_confirmed() {
    let ack_failures = [("0".to_owned(), vec!["TRANSIENT_FAILURE_INVALID_ACK_ID"; 2])].into();
    let script = Script { exactly_once: true, holds_acks: true, ack_failures, ..Script::default() };
    let broker = Own::start(script).await;
    broker.put([0]);
    let mut stage = Stage::new(&broker);
    let (told, mut inbox) = Inbox::new();
    let stack = move || handler_with(told.clone(), note);
    let handle = stage.spawn(Worker::new("w", stage.subscription("t"), stack));
    inbox.next().await;
    until("the acknowledgement is on its way", || !broker.calls("Acknowledge").is_empty()).await;
    let status = handle.status();
    assert_eq!((status.in_flight, status.counts.acked), (1, 0), "it is not confirmed");
    broker.change(|script| script.holds_acks = false);
    until("it is confirmed", || handle.status().counts.acked == 1).await;
    assert_eq!(broker.acked(), ["0"]);
    assert_eq!(broker.calls("Acknowledge").len(), 3, "refused twice, for now");
    assert_eq!(handle.status().counts.settle_failed, 0);
    stage.end().await;
}
