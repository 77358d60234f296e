//! G10: a handler that takes longer than the ack deadline keeps its message, and so does what waits behind it.

use crate::site::Project;
use std::time::Duration;
use throughline::{Message, State, Worker, handler_with};
use throughline_test::{Demands, Entry, Ev, Expect};
use throughline_tests::{Inbox, Run, Stage, Told, until};

const LEASE: Duration = Duration::from_secs(10);
const WORK: Duration = Duration::from_secs(45);
const MESSAGES: u64 = 20;
/// One more waits behind it in its lane, for as long as the first one runs.
const KEYED: &str = "k";

/// Each is handled for 45 s while its lease is of 10 s, and is delivered once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_slow_handlers_are_given_each_message_once() {
    let broker = Project::new();
    let run = Run::begin(&broker, "G10", Demands::new().ids(MESSAGES).duplicates(0));
    let mut stage = Stage::new(&broker);
    let topic = stage.topic(1).await;
    let message = |id: u64| {
        let message = Message::new(id.to_string());
        if id < 2 { message.with_key(KEYED) } else { message }
    };
    for (id, receipt) in (0..).zip(stage.publisher(&topic).send_all((0..MESSAGES).map(message)).await) {
        receipt.unwrap();
        run.record(Entry::new(Ev::Produced, id));
    }
    let (told, mut inbox) = Inbox::new();
    let state = (told, run.clone());
    let subscription = stage.subscription(&topic).lease(LEASE);
    let stack = move || handler_with(state.clone(), slowly);
    let handle = stage.spawn(Worker::new("w", subscription, stack).in_flight(MESSAGES as usize));
    // The one that waits takes twice as long.
    inbox.take(MESSAGES as usize - 1).await;
    inbox.next().await;
    until("everything is done", || handle.status().counts.acked == MESSAGES).await;
    let counts = handle.status().counts;
    assert_eq!((counts.received, counts.lease_lost), (MESSAGES, 0), "each was delivered once");
    let graph = stage.end().await;
    let all = MESSAGES as usize;
    graph.check(&Expect::new().sends(all).process_spans(all).components(all)).unwrap();
    println!("{}", run.conclude());
}

async fn slowly(message: Message, State((told, run)): State<(Told, Run)>) {
    tokio::time::sleep(WORK).await; // the work
    let id = std::str::from_utf8(message.payload()).unwrap().parse().unwrap();
    run.record(Entry::new(Ev::Finished, id));
    told.tell(message);
}
