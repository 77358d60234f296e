//! FC-48: a nack does not mean "again at once".

use crate::{Site, Stage, steps::text, until};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use throughline::{
    BoxError, Message, Ordering, Redelay, Redelivery, State, Subscription, Worker, handler_with,
};
use throughline_test::{Expect, Kind};

const GOOD: usize = 1_000;
const BAD: usize = 8;
/// The default delays, and the minute of the report, twenty times faster.
const FASTER: u32 = 20;
const WINDOW: Duration = Duration::from_secs(60 / FASTER as u64);
const AT_MOST: usize = 12;

/// By key, each bad message with a key of its own.
pub async fn failing_messages_of_their_own_keys_stop_no_good_one<B: Site>(broker: &B) {
    fail(broker, Ordering::Key).await;
}

/// Without any order.
pub async fn failing_messages_without_an_order_stop_no_good_one<B: Site>(broker: &B) {
    fail(broker, Ordering::None).await;
}

/// As many messages that always fail as handlers may run, ahead of 1,000 good ones.
async fn fail<B: Site>(broker: &B, ordering: Ordering) {
    let default = Redelay::exponential(Duration::from_secs(1), Duration::from_secs(300));
    assert_eq!(Redelay::default(), default, "what is scaled here");
    let faster = Redelay::exponential(Duration::from_secs(1) / FASTER, Duration::from_secs(300) / FASTER);
    let mut stage = Stage::new(broker);
    let topic = stage.topic(2).await;
    let seen = Arc::<Seen>::default();
    let state = seen.clone();
    let stack = move || handler_with(state.clone(), handle);
    let subscription = stage.subscription(&topic);
    // Else the broker holds them.
    let parked = if subscription.redelivery() == Redelivery::Worker { BAD } else { 0 };
    let worker = Worker::new("w", subscription, stack);
    let handle = stage.spawn(worker.in_flight(BAD).ordering(ordering).redelay(faster));
    let names = (0..BAD).map(|n| format!("bad {n}")).chain((0..GOOD).map(|n| format!("good {n}")));
    let messages = names.map(|name| Message::new(name.clone()).with_key(name));
    assert!(stage.publisher(&topic).send_all(messages).await.iter().all(Result::is_ok));
    let since = Instant::now();
    until("the good ones are done", || seen.0.lock().unwrap().len() == GOOD + BAD).await;
    let took = since.elapsed();
    assert!(took < Duration::from_secs(10), "the good ones took {took:?}");
    until("what failed holds no permit", || {
        let status = handle.status();
        (status.in_flight, status.parked, status.counts.acked) == (0, parked, GOOD as u64)
    })
    .await;
    // As long as the window, whatever was seen.
    tokio::time::sleep_until((seen.first_bad() + WINDOW).into()).await;
    let again = |seen: &Seen| seen.0.lock().unwrap().iter().all(|(name, at)| !is_bad(name) || at.len() > 1);
    if parked == 0 {
        // Behind the good ones, on a busy machine, and by whole seconds.
        until("a broker delivers them again", || again(&seen)).await;
    }
    let seen = seen.0.lock().unwrap().clone();
    let bad: Vec<usize> = seen.iter().filter(|(name, _)| is_bad(name)).map(|(_, at)| at.len()).collect();
    assert!(bad.iter().all(|times| (2..=AT_MOST).contains(times)), "deliveries of the bad ones: {bad:?}");
    assert!(seen.iter().all(|(name, at)| is_bad(name) || at.len() == 1), "a good one came twice");
    let graph = stage.end().await;
    graph.check(&Expect::new().sends(GOOD + BAD).components(GOOD + BAD)).unwrap();
    let failed = graph.spans().iter().filter(|s| s.kind == Kind::Consumer && !s.status.is_unset()).count();
    assert!(failed >= bad.iter().sum::<usize>(), "each failed delivery is a span that says so");
}

#[derive(Default)]
struct Seen(Mutex<BTreeMap<String, Vec<Instant>>>);

impl Seen {
    fn first_bad(&self) -> Instant {
        let seen = self.0.lock().unwrap();
        seen.iter().filter(|(name, _)| is_bad(name)).map(|(_, at)| at[0]).min().unwrap()
    }
}

fn is_bad(name: &str) -> bool {
    name.starts_with("bad")
}

async fn handle(message: Message, State(seen): State<Arc<Seen>>) -> Result<(), BoxError> {
    let name = text(&message).to_owned();
    let failed = is_bad(&name);
    seen.0.lock().unwrap().entry(name).or_default().push(Instant::now());
    if failed { Err("always".into()) } else { Ok(()) }
}
