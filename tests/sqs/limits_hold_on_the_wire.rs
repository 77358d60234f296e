//! The limits of SQS, and attributes of every type, through the wire. FC-25.

use crate::site::{Account, client};
use aws_sdk_sqs::{primitives::Blob, types::MessageAttributeValue};
use throughline::{BoxError, Error, ErrorKind, Message, Publisher, State, Worker, forward, handler_with};
use throughline_test::{Expect, conformance::Broker};
use throughline_tests::{Inbox, Stage, Told};

/// With seven to ten attributes of the user's own, in a trace with state and baggage, nothing fails to be sent and no edge
/// is broken: what does not fit goes, and at ten the context is in the X-Ray header. Eleven are refused before sending.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_injected_context_never_makes_a_send_fail() {
    let broker = Account::new();
    let mut stage = Stage::new(&broker);
    let queue = stage.topic(1).await;
    let publisher = stage.publisher(&queue);
    let message = |own: usize| {
        (0..own)
            .fold(Message::new(own.to_string()), |message, n| message.with_header(format!("own-{n}"), "v"))
    };
    for own in 7..=10 {
        publisher.send(message(own)).await.unwrap();
    }
    let error = publisher.send(message(11)).await.unwrap_err().downcast::<Error>().unwrap();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    let (told, mut inbox) = Inbox::new();
    stage.spawn(Worker::new("w", stage.subscription(&queue), move || handler_with(told.clone(), note)));
    for message in inbox.take(4).await {
        let own: usize = std::str::from_utf8(message.payload()).unwrap().parse().unwrap();
        let context = message.headers().get("traceparent").is_some();
        assert_eq!((message.headers().len(), context), (own + usize::from(own < 10), own < 10));
    }
    let graph = stage.end().await;
    // The fifth send was refused, and is a span all the same.
    graph.check(&Expect::new().spans(9).sends(5).process_spans(4).links(4).components(5)).unwrap();
}

/// What a foreign sender wrote is forwarded with its types.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attributes_are_forwarded_with_their_types() {
    let broker = Account::new();
    let mut stage = Stage::new(&broker);
    let (queue, next) = (stage.topic(1).await, stage.topic(1).await);
    let value = |data_type: &str| MessageAttributeValue::builder().data_type(data_type);
    let sent = [
        ("binary", value("Binary").binary_value(Blob::new("text")).build().unwrap()),
        ("label", value("String.email").string_value("a@b").build().unwrap()),
        ("number", value("Number").string_value("007.0").build().unwrap()),
        ("text", value("String").string_value("é").build().unwrap()),
    ];
    let url = broker.url(&queue).await;
    let send = client().send_message().queue_url(url).message_body("x");
    let all = sent.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    send.set_message_attributes(Some(all)).send().await.unwrap();
    let onward = stage.publisher(&next);
    stage.spawn(Worker::new("w", stage.subscription(&queue), move || handler_with(onward.clone(), pass_on)));
    let ask = client().receive_message().queue_url(broker.url(&next).await).wait_time_seconds(20);
    let came = ask.message_attribute_names("All").send().await.unwrap().messages.unwrap().remove(0);
    let mut came = came.message_attributes.unwrap();
    assert!(came.remove("traceparent").is_some());
    assert_eq!(came.len(), sent.len());
    for (name, value) in sent {
        assert_eq!(came[name], value, "{name}");
    }
    stage.end().await;
}

async fn pass_on(message: Message, State(onward): State<Publisher>) -> Result<(), BoxError> {
    onward.send(forward(&message)).await?;
    Ok(())
}

/// FC-25: five payloads at once, four of which SQS would refuse, and with them their batch: the good one is sent, each of
/// the others gets its own error. With base64 they come back byte for byte.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_sqs_refuses_cost_no_other_message() {
    const PAYLOADS: [&[u8]; 5] = [b"\x07", b"\x00\xff", b"\xef\xbf\xbf", b"", b"ok"];
    let broker = Account::new();
    let mut stage = Stage::new(&broker);
    let (plain, coded) = (stage.topic(1).await, stage.topic(1).await);
    let sent = stage.publisher(&plain).send_all(PAYLOADS.map(Message::new)).await;
    for (receipt, payload) in sent.iter().zip(PAYLOADS) {
        match receipt {
            Ok(_) => assert_eq!(payload, b"ok"),
            Err(error) => {
                let error = error.downcast_ref::<Error>().unwrap();
                assert_eq!(error.kind(), ErrorKind::Unrepresentable, "{payload:?}");
            }
        }
    }
    assert!(sent[4].is_ok());
    let publisher = Publisher::with_telemetry(broker.sink(&coded).base64(true), &stage.telemetry);
    let sent = publisher.send_all(PAYLOADS.map(Message::new)).await;
    assert_eq!(sent.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, true, true, false, true]);
    let (told, mut inbox) = Inbox::new();
    let subscription = stage.subscription(&coded).base64(true);
    stage.spawn(Worker::new("w", subscription, move || handler_with(told.clone(), note)));
    let mut came: Vec<_> = inbox.take(4).await.iter().map(|message| message.payload().to_vec()).collect();
    came.sort();
    let mut expected: Vec<_> =
        PAYLOADS.iter().filter(|payload| !payload.is_empty()).map(|p| p.to_vec()).collect();
    expected.sort();
    assert_eq!(came, expected);
    stage.end().await;
}

async fn note(message: Message, State(told): State<Told>) {
    told.tell(message);
}
