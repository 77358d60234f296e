//! Dead letters by the queue's own redrive policy: what fails too often goes there by itself, with the trace that it had.

use crate::site::Account;
use std::time::Duration;
use throughline::{BoxError, Message, Redelay, State, Worker, handler, handler_with};
use throughline_test::Expect;
use throughline_tests::{Inbox, Stage, Told};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_received_too_often_is_moved_with_its_context() {
    let broker = Account::new();
    let mut stage = Stage::new(&broker);
    let (queue, letters) = (stage.topic(1).await, stage.topic(1).await);
    broker.redrive(&queue, 2, &letters).await;
    let redelay = Redelay::exponential(Duration::from_secs(1), Duration::from_secs(1));
    let fail = || handler(|_: Message| async { Err::<(), BoxError>("always".into()) });
    stage.spawn(Worker::new("w", stage.subscription(&queue), fail).redelay(redelay));
    let (told, mut inbox) = Inbox::new();
    stage.spawn(Worker::new("letters", stage.subscription(&letters), move || {
        handler_with(told.clone(), note)
    }));
    stage.publisher(&queue).send(Message::new("x").with_header("own", "1")).await.unwrap();
    let letter = inbox.next().await;
    assert_eq!(
        (letter.payload().as_ref(), letter.headers().get("own").map(|v| &v[..])),
        (&b"x"[..], Some(&b"1"[..]))
    );
    let graph = stage.end().await;
    graph.check(&Expect::new().sends(1).process_spans(3).links(3).components(1).redeliveries(0..)).unwrap();
    let named = |name: String| graph.spans().iter().filter(move |span| span.name == name);
    let send = named(format!("send {queue}")).next().unwrap().id;
    let tries: Vec<_> = named(format!("process {queue}")).collect();
    let moved: Vec<_> = named(format!("process {letters}")).collect();
    assert_eq!((tries.len(), moved.len()), (2, 1));
    assert!(tries.iter().chain(&moved).all(|span| span.links[0].to == send));
    assert_eq!((broker.counts(&queue).await, broker.counts(&letters).await), ([0; 3], [0; 3]));
}

async fn note(message: Message, State(told): State<Told>) {
    told.tell(message);
}
