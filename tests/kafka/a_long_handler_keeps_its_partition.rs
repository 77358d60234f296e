//! G10: a handler that takes longer than `max.poll.interval.ms` does not cost the membership.

use std::time::Duration;
use throughline::{Message, State, Worker, handler_with};
use throughline_test::{Demands, Entry, Ev, Expect};
use throughline_tests::{Inbox, Run, Site, Stage, Told, eventually, kafka::Cluster, until};

const HANDLER: Duration = Duration::from_secs(20);
/// Two of one key, of which the second waits in the worker for as long as the first takes, and one of another.
const LONG_ONES: [&str; 3] = ["a", "b", "a"];
/// More than the worker has room for while the first two run.
const MESSAGES: u64 = 50;

/// Meanwhile the worker is full, so that for 20 s nothing is asked of the client at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_seconds_at_a_limit_of_six_are_received_once() {
    let cluster = Cluster::new();
    let run = Run::begin(&cluster, "G10", Demands::new().ids(MESSAGES).duplicates(0));
    let mut stage = Stage::new(&cluster);
    let topic = stage.topic(1).await;
    let group = Stage::<Cluster>::group(&topic);
    for id in 0..MESSAGES {
        let key = LONG_ONES.get(id as usize).unwrap_or(&"c");
        stage.publisher(&topic).send(Message::new(id.to_string()).with_key(*key)).await.unwrap();
        run.record(Entry::new(Ev::Produced, id));
    }
    let (told, mut inbox) = Inbox::new();
    let state = (told, run.clone());
    let kafka = cluster.kafka().clone().set("max.poll.interval.ms", "6000");
    let subscription = kafka.group(&group).topic(&topic);
    let worker = Worker::new("w", subscription, move || handler_with(state.clone(), take_long)).in_flight(2);
    let worker = stage.spawn(worker);
    inbox.take(MESSAGES as usize).await;
    until("all are acknowledged", || worker.status().counts.acked == MESSAGES).await;
    let committed = || cluster.committed(&topic, &group);
    eventually("all are committed", committed, |at| at.get(&0) == Some(&(MESSAGES as i64))).await;
    let counts = worker.status().counts;
    assert_eq!((counts.received, counts.lease_lost, counts.cancelled), (MESSAGES, 0, 0));
    assert_eq!(worker.status().restarts, 0);
    let graph = stage.end().await;
    let all = MESSAGES as usize;
    graph.check(&Expect::new().sends(all).process_spans(all).components(all)).unwrap();
    run.conclude();
}

async fn take_long(message: Message, State((told, run)): State<(Told, Run)>) {
    let id = std::str::from_utf8(message.payload()).unwrap().parse().unwrap();
    if id < LONG_ONES.len() as u64 {
        tokio::time::sleep(HANDLER).await; // the work
    }
    run.record(Entry::new(Ev::Finished, id));
    told.tell(message);
}
