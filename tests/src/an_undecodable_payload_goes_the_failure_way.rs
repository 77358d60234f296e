//! A payload that the handler's type does not fit, without dead letters.

use crate::{
    Inbox, Site, Stage, Told, eventually,
    steps::{error_type, named},
    until,
};
use std::time::Duration;
use throughline::{Json, Message, OnReject, Redelay, State, Worker, handler_with};
use throughline_test::Expect;

/// It is held: status names the place, the commit stays below it, everything else is handled.
pub async fn without_dead_letters_it_is_held_and_named<B: Site>(broker: &B) {
    let mut stage = Stage::new(broker);
    let topic = stage.topic(1).await;
    let (told, mut inbox) = Inbox::new();
    let redelay = Redelay::exponential(Duration::from_millis(10), Duration::from_millis(40));
    let worker = Worker::new("w", stage.subscription(&topic), move || handler_with(told.clone(), take));
    let handle = stage.spawn(worker.redelay(redelay));
    publish(&stage, &topic).await;
    inbox.take(2).await;
    until("the place is named", || handle.status().blocked.is_some()).await;
    assert_eq!(handle.status().blocked.unwrap().to_string(), format!("{topic}/0/1"));
    until("it is tried again and held", || handle.status().counts.nacked >= 3).await;
    let group = Stage::<B>::group(&topic);
    let committed = || broker.committed(&topic, &group);
    eventually("what is before it is committed", committed, |at| at.get(&0) == Some(&1)).await;
    until("the others are counted", || handle.status().counts.acked == 2).await;
    assert_eq!(handle.status().counts.put_aside, 0);
    assert!(handle.status().is_live());
    let graph = stage.end().await;
    graph.check(&Expect::new().sends(3).process_spans(5..).components(3)).unwrap();
    let errors = named(&graph, &format!("{} {topic}", B::PROCESS)).into_iter().filter_map(error_type);
    let errors: Vec<_> = errors.collect();
    assert!(errors.len() >= 3 && errors.iter().all(|error| error == "rejected"), "{errors:?}");
    assert_eq!(broker.committed(&topic, &group).await.get(&0), Some(&1), "also after the drain");
}

/// With `OnReject::Discard` it is acknowledged and counted.
pub async fn discarded_only_on_request<B: Site>(broker: &B) {
    let mut stage = Stage::new(broker);
    let topic = stage.topic(1).await;
    let (told, mut inbox) = Inbox::new();
    let worker = Worker::new("w", stage.subscription(&topic), move || handler_with(told.clone(), take));
    let handle = stage.spawn(worker.on_reject(OnReject::Discard));
    publish(&stage, &topic).await;
    inbox.take(2).await;
    let group = Stage::<B>::group(&topic);
    eventually("everything is done", || broker.is_all_done(&topic, &group, 3), |done| *done).await;
    let counted = || {
        let counts = handle.status().counts;
        (counts.acked, counts.put_aside, counts.nacked) == (2, 1, 0)
    };
    until("all are counted", counted).await;
    assert_eq!(handle.status().blocked, None);
    let graph = stage.end().await;
    graph.check(&Expect::new().sends(3).process_spans(3).components(3)).unwrap();
}

/// The one in the middle is no number.
async fn publish<B: Site>(stage: &Stage<'_, B>, topic: &str) {
    let publisher = stage.publisher(topic);
    for payload in ["1", "{", "3"] {
        publisher.send(Message::new(payload)).await.unwrap();
    }
}

async fn take(Json(_): Json<u64>, message: Message, State(told): State<Told>) {
    told.tell(message);
}
