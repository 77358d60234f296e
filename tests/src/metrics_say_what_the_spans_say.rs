//! Metrics of whole workers; that they agree with the spans is looked at in every scenario.

use crate::{
    Inbox, Site, Stage, Told, eventually,
    steps::{deliveries, hush_injected_panics, text},
    until,
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use throughline::{
    Backoff, BoxError, DeadLetter, Message, Redelay, Rejected, RetryLayer, State, Worker, handler_with,
    trace::Trail,
};
use throughline_test::Measures;
use tokio::sync::Semaphore;
use tower::ServiceBuilder;

const SOON: Duration = Duration::from_millis(5);

/// A delivery counts once, whether it succeeds, succeeds at its second try, fails and comes again, panics and comes
/// again, or is set aside; and what the worker did with it is counted too.
pub async fn a_delivery_counts_once_however_it_ends<B: Site>(broker: &B) {
    hush_injected_panics();
    let mut stage = Stage::new(broker);
    let (topic, letters) = (stage.topic(2).await, stage.topic(1).await);
    let (told, mut inbox) = Inbox::new();
    let stack = move || {
        ServiceBuilder::new()
            .layer(RetryLayer::new(Backoff::exponential(1).starting_at(SOON)))
            .service(handler_with(told.clone(), in_its_way))
    };
    let worker =
        Worker::new("w", stage.subscription(&topic), stack).redelay(Redelay::exponential(SOON, SOON));
    let handle = stage.spawn(worker.dead_letter(DeadLetter::to(stage.publisher(&letters))));
    let ways = ["at once", "second try", "second delivery", "panic", "reject"];
    for receipt in stage.publisher(&topic).send_all(ways.map(Message::new)).await {
        receipt.unwrap();
    }
    inbox.take(4).await;
    until("all are done", || {
        let counts = handle.status().counts;
        (counts.acked, counts.put_aside) == (4, 1)
    })
    .await;
    let measures = stage.end_measured().await;

    let by_error = |name: &str| -> BTreeMap<_, _> {
        let of = measures.with(name, &[("messaging.destination.name", &topic)]);
        of.into_iter().map(|series| (series.attribute("error.type").unwrap_or(""), series.value)).collect()
    };
    let seven = [("", 4.0), ("_OTHER", 1.0), ("panic", 1.0), ("rejected", 1.0)].into();
    assert_eq!(by_error("messaging.client.consumed.messages"), seven);
    assert_eq!(by_error("messaging.process.duration"), seven);
    assert_eq!(by_error("messaging.client.sent.messages"), [("", 5.0)].into());
    assert_eq!(by_error("throughline.message.retries"), [("", 2.0)].into());
    assert_eq!(by_error("throughline.message.time_in_queue"), [("", 7.0)].into());
    let of_worker = |name: &str| measures.sum(name, &[("throughline.worker", "w")]);
    assert_eq!(of_worker("throughline.worker.dead_letters"), 1.0);
    for name in ["in_flight", "waiting", "restarts", "discarded", "leases_lost"] {
        assert_eq!(of_worker(&format!("throughline.worker.{name}")), 0.0, "{name}");
    }
}

async fn in_its_way(message: Message, State(told): State<Told>) -> Result<(), BoxError> {
    let first = deliveries(&message) == 1;
    let tries = message.extensions().get::<Trail>().map_or(1, Trail::attempts);
    match text(&message) {
        "second try" if tries == 1 => return Err("not yet".into()),
        "second delivery" if first => return Err("not this time".into()),
        "panic" if first => panic!("injected panic in the handler"),
        "reject" => return Err(Rejected::new("never").into()),
        _ => told.tell(message),
    }
    Ok(())
}

/// While the fifth of ten messages in a lane is held, six are behind; at the end none is.
pub async fn lag_is_measured_by_partition<B: Site>(broker: &B) {
    let mut stage = Stage::new(broker);
    let topic = stage.topic(1).await;
    let gate = Arc::new(Semaphore::new(4));
    let (told, mut inbox) = Inbox::new();
    let state = (told, gate.clone());
    stage.spawn(Worker::new("w", stage.subscription(&topic), move || {
        handler_with(state.clone(), note_if_let)
    }));
    let messages = (0..10).map(|n| Message::new(n.to_string()).with_key("one"));
    for receipt in stage.publisher(&topic).send_all(messages).await {
        receipt.unwrap();
    }
    inbox.take(4).await;
    let lag = || stage.measures();
    let is = |wanted: f64| {
        let topic = topic.clone();
        move |measures: &Measures| {
            let at = [("messaging.destination.name", &*topic), ("messaging.destination.partition.id", "0")];
            measures.with("throughline.consumer.lag", &at).iter().any(|lag| lag.value == wanted)
        }
    };
    eventually("six are behind", lag, is(6.0)).await;
    let runs = |measures: &Measures| {
        let of = |name| measures.sum(name, &[("throughline.worker", "w")]);
        (of("throughline.worker.in_flight"), of("throughline.worker.waiting")) == (1.0, 5.0)
    };
    eventually("one runs and five wait", lag, runs).await;
    gate.add_permits(6);
    inbox.take(6).await;
    eventually("none is behind", lag, is(0.0)).await;
    stage.end().await;
}

async fn note_if_let(message: Message, State((told, gate)): State<(Told, Arc<Semaphore>)>) {
    gate.acquire().await.unwrap().forget();
    told.tell(message);
}
