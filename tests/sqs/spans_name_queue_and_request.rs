//! What spans say of a queue: its URL, which is not a server's address, and the request by which something was done.

use crate::site::Account;
use throughline::{Message, Worker, handler};
use throughline_test::SpanRecord;
use throughline_tests::{Stage, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_span_of_a_queue_says_its_url() {
    let broker = Account::new();
    let mut stage = Stage::new(&broker);
    let queue = stage.topic(1).await;
    let url = broker.url(&queue).await;
    // By name, so that its URL is not known before it is asked for.
    let receipt = stage.publisher(&queue).send(Message::new("x")).await.unwrap();
    let handle = stage.spawn(Worker::new("w", stage.subscription(&queue), || handler(|_: Message| async {})));
    until("it is deleted", || handle.status().counts.acked == 1).await;
    let graph = stage.end().await;
    let said = |span: &SpanRecord, name: &str| {
        span.attributes.get(name).map(|value| value.as_str().unwrap().to_owned())
    };
    for operation in ["send", "process", "delete"] {
        let name = format!("{operation} {queue}");
        let span = graph.spans().iter().find(|span| span.name == name).unwrap();
        assert_eq!(said(span, "aws.sqs.queue.url").as_ref(), Some(&url), "{name}");
        assert_eq!(said(span, "server.address").is_some(), operation != "send", "{name}");
        assert!(said(span, "server.address").is_none_or(|address| !address.contains("://")), "{name}");
    }
    let request = receipt.request.unwrap();
    assert_eq!(request.url.as_deref(), Some(&*url));
    let send = graph.spans().iter().find(|span| span.name == format!("send {queue}")).unwrap();
    assert_eq!(said(send, "aws.request_id").as_deref(), request.id.as_deref());
}
