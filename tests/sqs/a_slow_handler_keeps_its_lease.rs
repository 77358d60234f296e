//! G10: a handler that takes longer than the visibility time-out keeps its message, and so does what waits behind it.

use crate::site::{Account, client};
use std::time::Duration;
use throughline::{Lease, Message, OnLeaseLost, State, Worker, WorkerHandle, handler_with};
use throughline_test::{Demands, Entry, Ev, Expect};
use throughline_tests::{Inbox, Run, Stage, Told, until};

const VISIBILITY: Duration = Duration::from_secs(4);
const WORK: Duration = Duration::from_secs(15);
const MESSAGES: u64 = 100;
/// Two of each: the second waits in its lane for as long as the first runs.
const KEYS: u64 = 5;

/// A hundred messages, each handled for 15 s while its lease is of 4 s: every one is received once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_slow_handlers_receive_each_message_once() {
    let broker = Account::new();
    let run = Run::begin(&broker, "G10", Demands::new().ids(MESSAGES).duplicates(0));
    let mut stage = Stage::new(&broker);
    let queue = stage.topic(1).await;
    let message = |id: u64| {
        let message = Message::new(id.to_string());
        if id < 2 * KEYS { message.with_key(format!("k{}", id % KEYS)) } else { message }
    };
    for (id, receipt) in (0..).zip(stage.publisher(&queue).send_all((0..MESSAGES).map(message)).await) {
        receipt.unwrap();
        run.record(Entry::new(Ev::Produced, id));
    }
    let (told, mut inbox) = Inbox::new();
    let state = (told, run.clone());
    let subscription = stage.subscription(&queue).visibility(VISIBILITY);
    let stack = move || handler_with(state.clone(), slowly);
    let handle = stage.spawn(Worker::new("w", subscription, stack).in_flight(MESSAGES as usize));
    let handled = inbox.take(MESSAGES as usize).await;
    assert!(handled.iter().all(|message| message.origin().unwrap().delivery_count == 1));
    until("everything is deleted", || handle.status().counts.acked == MESSAGES).await;
    assert_eq!(handle.status().counts.lease_lost, 0);
    let graph = stage.end().await;
    assert_eq!(broker.counts(&queue).await, [0; 3]);
    let all = MESSAGES as usize;
    graph.check(&Expect::new().sends(all).process_spans(all).components(all)).unwrap();
    run.conclude();
}

async fn slowly(message: Message, State((told, run)): State<(Told, Run)>) {
    tokio::time::sleep(WORK).await; // the work
    let id = std::str::from_utf8(message.payload()).unwrap().parse().unwrap();
    run.record(Entry::new(Ev::Finished, id));
    told.tell(message);
}

/// A drain waits for a handler that takes three times as long as a lease: it is kept meanwhile, and nobody else gets the
/// message.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_is_kept_while_a_worker_drains() {
    let broker = Account::new();
    let mut stage = Stage::new(&broker);
    let (queue, handle, mut ends) = at_work(&mut stage, Work::ForSixSeconds, OnLeaseLost::Tell).await;
    let (ask, url) = (client(), broker.url(&queue).await);
    let other = tokio::spawn(async move {
        let receive = ask.receive_message().queue_url(url).wait_time_seconds(5);
        receive.send().await.unwrap().messages.unwrap_or_default().len()
    });
    stage.drain().await;
    assert_eq!((other.await.unwrap(), ends.take(1).await.len()), (0, 1));
    assert_eq!((handle.status().counts.acked, handle.status().counts.lease_lost), (1, 0));
    assert_eq!(broker.counts(&queue).await, [0; 3]);
}

/// A message that is no longer there cannot be extended: its handler is told and runs on, or is cancelled; the loss is
/// counted, and nothing is deleted in its name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_lease_is_told_and_counted() {
    for (on_lost, cancelled) in [(OnLeaseLost::Tell, 0), (OnLeaseLost::Cancel, 1)] {
        let broker = Account::new();
        let mut stage = Stage::new(&broker);
        let (queue, handle, mut ends) = at_work(&mut stage, Work::UntilTheLoss, on_lost).await;
        client().purge_queue().queue_url(broker.url(&queue).await).send().await.unwrap();
        if on_lost == OnLeaseLost::Tell {
            assert!(ends.next().await.lease().is_lost());
        }
        until("the loss is counted", || handle.status().counts.lease_lost == 1).await;
        until("nothing runs", || handle.status().in_flight == 0).await;
        let counts = handle.status().counts;
        assert_eq!((counts.cancelled, counts.acked), (cancelled, 0), "{on_lost:?}");
        let graph = stage.end().await;
        let deletes = graph.spans().iter().filter(|span| span.name.starts_with("delete")).count();
        assert_eq!(deletes, 0, "nothing was deleted");
    }
}

#[derive(Clone, Copy)]
enum Work {
    ForSixSeconds,
    UntilTheLoss,
}

/// A queue, and a worker with leases of two seconds that is at work on its one message, and tells when that is done.
async fn at_work(
    stage: &mut Stage<'_, Account>,
    work: Work,
    on_lost: OnLeaseLost,
) -> (String, WorkerHandle, Inbox) {
    let queue = stage.topic(1).await;
    let ((started, mut starts), (told, ends)) = (Inbox::new(), Inbox::new());
    let state = (work, started, told);
    let subscription = stage.subscription(&queue).visibility(Duration::from_secs(2));
    let stack = move || handler_with(state.clone(), do_it);
    let handle = stage.spawn(Worker::new("w", subscription, stack).on_lease_lost(on_lost));
    stage.publisher(&queue).send(Message::new("x")).await.unwrap();
    starts.next().await;
    (queue, handle, ends)
}

async fn do_it(message: Message, lease: Lease, State((work, started, told)): State<(Work, Told, Told)>) {
    started.tell(message.clone());
    match work {
        Work::ForSixSeconds => tokio::time::sleep(Duration::from_secs(6)).await, // the work
        Work::UntilTheLoss => lease.lost().await,
    }
    told.tell(message);
}
