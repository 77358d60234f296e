//! A dead letter that nobody takes.

use crate::{
    Inbox, Site, Stage, eventually,
    steps::{error_type, named, note, text},
    until,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use throughline::{BoxError, DeadLetter, Message, Redelay, Rejected, Worker, handler, handler_with};
use throughline_test::Expect;
use tower::filter::FilterLayer;

/// As long as the dead letters are refused the message is held and its offset is not committed, while others go on.
/// When they are accepted it is acknowledged.
pub async fn nothing_is_acknowledged_before_the_dead_letter_is_accepted<B: Site>(broker: &B) {
    let mut stage = Stage::new(broker);
    let (topic, letters) = (stage.topic(1).await, stage.topic(1).await);
    let accept = Arc::new(AtomicBool::new(false));
    let open = accept.clone();
    let publisher = stage.publisher(&letters).layer(FilterLayer::new(move |letter: Message| {
        if open.load(Ordering::SeqCst) { Ok(letter) } else { Err(BoxError::from("no room")) }
    }));
    let redelay = Redelay::exponential(Duration::from_millis(10), Duration::from_millis(40));
    let handle = stage.spawn(
        Worker::new("w", stage.subscription(&topic), || handler(reject_the_bad))
            .redelay(redelay)
            .dead_letter(DeadLetter::to(publisher)),
    );
    let (told, mut inbox) = Inbox::new();
    stage.spawn(Worker::new("letters", stage.subscription(&letters), move || {
        handler_with(told.clone(), note)
    }));
    let publisher = stage.publisher(&topic);
    publisher.send(Message::new("good")).await.unwrap();
    publisher.send(Message::new("bad")).await.unwrap();
    publisher.send(Message::new("good")).await.unwrap();

    until("it was refused three times", || handle.status().counts.nacked >= 3).await;
    let group = Stage::<B>::group(&topic);
    let committed = || broker.committed(&topic, &group);
    eventually("the offset before it is committed", committed, |at| at.get(&0) == Some(&1)).await;
    until("the others are counted", || handle.status().counts.acked == 2).await;
    assert_eq!(handle.status().counts.put_aside, 0);
    assert!(inbox.is_empty());
    accept.store(true, Ordering::SeqCst);
    assert_eq!(text(&inbox.next().await), "bad");
    eventually("everything is committed", committed, |at| at.get(&0) == Some(&3)).await;
    until("it is counted", || handle.status().counts.put_aside == 1).await;
    assert_eq!(handle.status().counts.acked, 2);
    let refused = handle.status().counts.nacked as usize;
    let graph = stage.end().await;

    // Three publishes and the letter; the filter is around the send, so a refused one is no send.
    let expect = Expect::new().sends(4).process_spans(4 + refused).components(3);
    graph.check(&expect).unwrap();
    let errors: Vec<_> =
        named(&graph, &format!("{} {topic}", B::PROCESS)).into_iter().filter_map(error_type).collect();
    assert_eq!(errors.iter().filter(|error| *error == "dead_letter_failed").count(), refused);
    assert_eq!(errors.iter().filter(|error| *error == "rejected").count(), 1);
}

async fn reject_the_bad(message: Message) -> Result<(), Rejected> {
    if text(&message) == "bad" { Err(Rejected::new("bad")) } else { Ok(()) }
}
