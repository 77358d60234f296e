//! FC-31: behind a message of its key that was put aside, an ordering key goes on.

use crate::site::Project;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use throughline::{BoxError, DeadLetter, Message, Redelay, State, Worker, handler_with};
use throughline_tests::{Inbox, Stage, Told, until};

const OTHERS: usize = 10;
/// After the letter, until the next of the key is handled.
const SOON: Duration = Duration::from_secs(1);

/// The first of key `a` fails three times and is parked once; the second and third follow in order. Key `b` waits for nobody,
/// and nothing is left of either when all is done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_later_ones_follow_and_no_other_key_waits() {
    let broker = Project::new();
    let mut stage = Stage::new(&broker);
    let (topic, letters) = (stage.topic(1).await, stage.topic(1).await);
    let (told, mut parked) = Inbox::new();
    stage.spawn(Worker::new("letters", stage.subscription(&letters), move || {
        handler_with(told.clone(), note)
    }));
    let publisher = stage.publisher(&topic);
    let of = |key: &'static str, name: String| Message::new(name).with_key(key);
    let firsts = [of("a", "a1".to_owned())].into_iter().chain((0..OTHERS).map(|n| of("b", format!("b{n}"))));
    let all = firsts.chain([of("a", "a2".to_owned()), of("a", "a3".to_owned())]);
    assert!(publisher.send_all(all).await.iter().all(Result::is_ok));
    let seen = Arc::<Seen>::default();
    let state = seen.clone();
    let dead = DeadLetter::to(stage.publisher(&letters)).after(3);
    let redelay = Redelay::exponential(Duration::from_secs(1), Duration::from_secs(2));
    let stack = move || handler_with(state.clone(), fail_the_first);
    let worker = Worker::new("w", stage.subscription(&topic), stack).dead_letter(dead).redelay(redelay);
    let handle = stage.spawn(worker);
    until("all are done", || handle.status().counts.acked == 2 + OTHERS as u64).await;
    let letter = parked.next().await;
    assert_eq!(&letter.payload()[..], b"a1");
    until("no lane is left", || handle.status().waiting == 0 && handle.status().in_flight == 0).await;
    let seen = seen.0.lock().unwrap().clone();
    let at = |name: &str| *seen[name].last().unwrap();
    assert_eq!(seen["a1"].len(), 3);
    assert!(at("a1") < at("a2") && at("a2") < at("a3"), "in order");
    assert!(at("a3") - at("a1") < SOON, "{:?} behind the letter", at("a3") - at("a1"));
    let b: Vec<Instant> = (0..OTHERS).map(|n| at(&format!("b{n}"))).collect();
    assert!(b.is_sorted() && b[OTHERS - 1] < at("a1"), "b waits for nobody");
    stage.end().await;
    assert!(parked.is_empty(), "parked once");
}

/// When each was handled.
#[derive(Default)]
struct Seen(Mutex<BTreeMap<String, Vec<Instant>>>);

async fn fail_the_first(message: Message, State(seen): State<Arc<Seen>>) -> Result<(), BoxError> {
    let name = String::from_utf8(message.payload().to_vec())?;
    let failed = name == "a1";
    seen.0.lock().unwrap().entry(name).or_default().push(Instant::now());
    if failed { Err("always".into()) } else { Ok(()) }
}

async fn note(message: Message, State(told): State<Told>) {
    told.tell(message);
}
