//! Nack and redelivery, in every way that a delivery can fail.

use crate::{
    Inbox, Site, Stage, Told,
    steps::{deliveries, error_type, hush_injected_panics, named, text},
    until,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use throughline::{BoxError, Message, Redelay, Settlement, State, Worker, handler_with};
use throughline_test::{Expect, SpanRecord};
use tower::ServiceBuilder;

const FIRST: Duration = Duration::from_millis(150);
const ASKED_FOR: Duration = Duration::from_millis(400);
/// What the worker's jitter leaves of a delay.
const AT_LEAST: f64 = 0.75;

/// One message fails in five ways: each delivery is one process span linked to the same send, the delay grows or is the
/// one that was asked for, and meanwhile it holds no permit, so that the only one goes to another message.
pub async fn each_delivery_is_one_linked_process_span<B: Site>(broker: &B) {
    hush_injected_panics();
    let mut stage = Stage::new(broker);
    let topic = stage.topic(1).await;
    let (told, mut inbox) = Inbox::new();
    let well = Arc::new(AtomicBool::new(false));
    let state = (told, well.clone());
    let stack = move || {
        // Far above what a handler that answers takes.
        ServiceBuilder::new().timeout(Duration::from_millis(50)).service(handler_with(state.clone(), fail))
    };
    let redelay = Redelay::exponential(FIRST, Duration::from_secs(60));
    let worker = Worker::new("w", stage.subscription(&topic), stack).redelay(redelay).in_flight(1);
    let handle = stage.spawn(worker);
    let publisher = stage.publisher(&topic);
    publisher.send(Message::new("bad")).await.unwrap();

    for n in 1..=5 {
        assert_eq!(deliveries(&inbox.next().await), n);
    }
    until("the message is parked", || handle.status().parked == 1).await;
    assert_eq!(handle.status().in_flight, 0, "what is parked holds no permit");
    publisher.send(Message::new("good")).await.unwrap();
    assert_eq!(text(&inbox.next().await), "good", "the next delivery of the other is 1.8 s away at least");
    well.store(true, Ordering::SeqCst);
    assert_eq!(deliveries(&inbox.next().await), 6);
    let graph = stage.end().await;

    let expect = Expect::new().spans(9).sends(2).process_spans(7).links(7).traces(9).components(2);
    graph.check(&expect).unwrap();
    let bad: Vec<_> = named(&graph, &format!("{} {topic}", B::PROCESS))
        .into_iter()
        .filter(|span| offset(span) == Some("0".to_owned()))
        .collect();
    assert!(bad.iter().all(|span| span.links[0].to == bad[0].links[0].to), "one creation context");
    for (n, pair) in bad.windows(2).enumerate() {
        let least = match n {
            2 => ASKED_FOR,
            n => FIRST.mul_f64(AT_LEAST * f64::from(1 << n)),
        };
        let gap = Duration::from_nanos(pair[1].start - pair[0].end);
        assert!(gap >= least, "{gap:?} after delivery {}, must be {least:?}", n + 1);
    }
    let errors: Vec<_> = bad.iter().map(|span| error_type(span).unwrap_or_default()).collect();
    assert_eq!(errors, ["_OTHER", "nack", "nack", "timeout", "panic", ""]);
    let counts: Vec<_> = bad.iter().map(|span| span.text("throughline.delivery.count")).collect();
    let counted = [None, Some("2"), Some("3"), Some("4"), Some("5"), Some("6")];
    assert_eq!(counts, counted.map(|n| n.map(str::to_owned)));
}

fn offset(span: &SpanRecord) -> Option<String> {
    ["messaging.kafka.offset", "throughline.offset"].iter().find_map(|name| span.text(name))
}

async fn fail(
    message: Message,
    State((told, well)): State<(Told, Arc<AtomicBool>)>,
) -> Result<Settlement, BoxError> {
    let delivery = deliveries(&message);
    let bad = text(&message) == "bad" && !well.load(Ordering::SeqCst);
    told.tell(message);
    match delivery {
        _ if !bad => Ok(Settlement::Ack),
        1 => Err("a plain error".into()),
        2 => Ok(Settlement::nack()),
        3 => Ok(Settlement::retry_after(ASKED_FOR)),
        4 => std::future::pending().await,
        _ => panic!("injected panic in the handler"),
    }
}
