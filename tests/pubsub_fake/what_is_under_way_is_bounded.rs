//! A server that does not answer a publish, and a message that it would never take.

use crate::{
    fake::{PublishScript, Published, Script},
    site::Own,
};
use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};
use throughline::{Endpoint, Error, ErrorKind, Message, Publisher};
use throughline_tests::{until, within};
use tower::Service;

const MOST: usize = 10;
const MESSAGES: usize = 100;

/// The client's own queue has no bound. Ours has: whoever sends more waits, and all is sent when the server answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_answer_holds_the_senders() {
    let silent = Arc::new(AtomicBool::new(true));
    let mute = silent.clone();
    let answer = move |_: &_| if mute.load(SeqCst) { Published::Unanswered } else { Published::Taken };
    let broker = Own::start(Script { publish: PublishScript::new(answer), ..Script::default() }).await;
    let mut sink = broker.pubsub.topic("t").under_way(MOST, 1 << 20);
    let mut sent = Vec::new();
    for n in 0..MOST {
        within("it is ready", poll_fn(|cx| sink.poll_ready(cx))).await.unwrap();
        sent.push(sink.call(Message::new(n.to_string())));
    }
    until("the server has them", || !broker.calls("Publish").is_empty()).await;
    let ready = std::future::poll_fn(|cx| std::task::Poll::Ready(sink.poll_ready(cx).is_ready())).await;
    assert!(!ready, "it is full");
    // A clone is of the same sink.
    let publisher = Publisher::new(sink.clone());
    let rest = tokio::spawn(publisher.send_all((MOST..MESSAGES).map(|n| Message::new(n.to_string()))));
    assert!(broker.published().is_empty());
    silent.store(false, SeqCst);
    for answer in sent {
        within("an answer", answer).await.unwrap();
    }
    assert!(within("the rest", rest).await.unwrap().iter().all(Result::is_ok));
    within("it is ready again", poll_fn(|cx| sink.poll_ready(cx))).await.unwrap();
    sink.flush().await.unwrap();
    assert_eq!(broker.published().len(), MESSAGES);
}

/// Over ten megabytes the service refuses; nothing is sent, and the error says how much it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_is_not_sent() {
    let broker = Own::start(Script::default()).await;
    let publisher = Publisher::new(broker.pubsub.topic("t"));
    let error = publisher.send(Message::new(vec![0; 10_000_000])).await.unwrap_err();
    let error = error.downcast::<Error>().unwrap();
    assert_eq!((error.kind(), error.resource()), (ErrorKind::TooLarge, crate::fake::TOPIC), "{error}");
    assert!(broker.calls("Publish").is_empty());
    publisher.send(Message::new(vec![0; 9_999_000])).await.unwrap();
    assert_eq!(broker.published().len(), 1);
}
