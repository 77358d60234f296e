//! FC-40: the dead letter of a failure that happened late, and on another thread.

use crate::{
    Inbox, Site, Stage,
    steps::{creation, error_type, header, named, note},
};
use std::time::Duration;
use throughline::{BoxError, DeadLetter, Message, Redelay, Worker, dead_letter, handler, handler_with};
use throughline_test::{Expect, Kind};

/// After three deliveries the dead letter is sent inside the failed process span; it carries the context of that send,
/// and that of the first publish in a field of its own.
pub async fn a_failure_on_another_thread_leaves_its_dead_letter_in_the_trace<B: Site>(broker: &B) {
    let mut stage = Stage::new(broker);
    let (topic, letters) = (stage.topic(1).await, stage.topic(1).await);
    let (told, mut inbox) = Inbox::new();
    let redelay = Redelay::exponential(Duration::from_millis(5), Duration::from_millis(20));
    let dead = DeadLetter::to(stage.publisher(&letters)).after(3);
    stage.spawn(
        Worker::new("w", stage.subscription(&topic), || handler(fail_late))
            .redelay(redelay)
            .dead_letter(dead),
    );
    stage.spawn(Worker::new("letters", stage.subscription(&letters), move || {
        handler_with(told.clone(), note)
    }));
    stage.publisher(&topic).send(Message::new("1")).await.unwrap();
    let letter = inbox.next().await;
    let graph = stage.end().await;

    let expect = Expect::new().spans(6).sends(2).process_spans(4).links(5).traces(5).components(1);
    graph.check(&expect).unwrap();
    let first = named(&graph, &format!("send {topic}"))[0];
    let deliveries = named(&graph, &format!("{} {topic}", B::PROCESS));
    assert!(deliveries.iter().all(|span| span.links[0].to == first.id));
    assert!(deliveries.iter().all(|span| error_type(span).as_deref() == Some("_OTHER")));
    let send = graph.get(creation(&letter)).expect("the letter carries the context of its send span");
    assert_eq!((send.kind, send.name.as_str()), (Kind::Producer, &*format!("send {letters}")));
    assert_eq!(send.parent, Some(deliveries[2].id), "inside the process span that failed last");
    let original = crate::steps::parse(header(&letter, dead_letter::TRACEPARENT).unwrap());
    assert_eq!(original, first.id, "the creation context travels along");
    assert_eq!(header(&letter, dead_letter::ATTEMPTS), Some("3"));
    assert_eq!(header(&letter, dead_letter::DESTINATION), Some(topic.as_str()));
}

async fn fail_late(_: Message) -> Result<(), BoxError> {
    tokio::task::yield_now().await;
    tokio::task::spawn_blocking(|| {
        std::thread::sleep(Duration::from_millis(50)); // the work that fails
        Err("late".into())
    })
    .await?
}
