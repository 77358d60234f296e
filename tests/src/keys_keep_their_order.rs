//! G3: order within a key at any concurrency.

use crate::{
    Inbox, Run, Site, Stage, Told,
    steps::{deliveries, number},
};
use std::time::Duration;
use throughline::{BoxError, Message, Redelay, State, Worker, handler_with};
use throughline_test::{Demands, Entry, Ev, Expect};

const KEYS: u64 = 1_000;
const OF_EACH: u64 = 20;
const MESSAGES: u64 = KEYS * OF_EACH;

/// 1,000 keys, 20 messages of each, 1,000 handlers at once, each 0 to 5 ms, one in twenty tried again: strictly in order
/// within each key, and never two of a key at once.
pub async fn a_key_is_handled_in_order_while_some_are_tried_again<B: Site>(broker: &B) {
    let run = Run::begin(broker, "G3", Demands::new().ids(MESSAGES).order().duplicates(0));
    let mut stage = Stage::new(broker);
    let topic = stage.topic(6).await;
    let (told, mut inbox) = Inbox::new();
    let state = (told, run.clone());
    let worker = Worker::new("w", stage.subscription(&topic), move || handler_with(state.clone(), handle));
    let redelay = Redelay::exponential(Duration::from_millis(2), Duration::from_millis(20));
    let worker = stage.spawn(worker.in_flight(1_000).redelay(redelay));
    let message = |id: u64| Message::new(id.to_string()).with_key(key(id));
    let receipts = stage.publisher(&topic).send_all((0..MESSAGES).map(message)).await;
    for (id, receipt) in (0..).zip(receipts) {
        let receipt = receipt.unwrap();
        let (partition, offset) = (receipt.partition.unwrap(), receipt.offset.unwrap());
        run.record(Entry::new(Ev::Produced, id).key(key(id)).at(partition, offset));
    }
    inbox.take(MESSAGES as usize).await;
    crate::until("everything is acknowledged", || worker.status().counts.acked == MESSAGES).await;
    let again = worker.status().counts.nacked as usize;
    assert!(again >= MESSAGES as usize / 40, "{again} were tried again");
    let graph = stage.end().await;
    let all = MESSAGES as usize;
    let expect = Expect::new().sends(all).process_spans(all + again).links(all + again).components(all);
    graph.check(&expect).unwrap();
    run.conclude();
}

fn key(id: u64) -> String {
    format!("key {}", id % KEYS)
}

async fn handle(message: Message, State((told, run)): State<(Told, Run)>) -> Result<(), BoxError> {
    let id = number(&message);
    run.record(Entry::new(Ev::Started, id).key(key(id)));
    tokio::time::sleep(Duration::from_micros(fastrand::u64(..5_000))).await; // the work
    if deliveries(&message) == 1 && fastrand::u8(..20) == 0 {
        run.record(Entry::new(Ev::Failed, id));
        return Err("again".into());
    }
    run.record(Entry::new(Ev::Finished, id));
    told.tell(message);
    Ok(())
}
