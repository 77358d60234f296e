//! What is in a message, and what the broker says of it.

use super::{
    Broker,
    features::skip,
    member::{Member, send, topic, try_send},
};
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};
use throughline_core::{ByteString, ErrorKind, Headers, Message};
use tokio::time::timeout;

/// Payload, key and headers arrive as they were sent: absent or empty, duplicate, null or not UTF-8, in their order.
/// What a broker cannot carry it must refuse as [`Unrepresentable`](ErrorKind::Unrepresentable).
pub async fn content_comes_back_byte_for_byte<B: Broker>(broker: &B) {
    let topic = topic(broker, 1).await;
    let mut sink = broker.sink(&topic);
    let mut sent = Vec::new();
    for (what, message) in specimens() {
        let answer = timeout(broker.patience(), try_send(&mut sink, message.clone())).await;
        match answer.expect("a send is answered in time") {
            Ok(_) => sent.push((what, message)),
            Err(error) if error.kind() == ErrorKind::Unrepresentable => {
                skip("content_comes_back_byte_for_byte", &format!("{what} cannot be sent: {error}"));
            }
            Err(error) => panic!("{what}: {error}"),
        }
    }
    assert!(!sent.is_empty(), "not even a plain message could be sent");
    let mut member = Member::join(broker, &topic, &broker.fresh_name("group")).await;
    let mut deliveries = member.take(sent.len()).await;
    for (what, message) in sent {
        let is_it = |at: &Headers| at.get("specimen") == message.headers().get("specimen");
        let at = deliveries.iter().position(|delivery| is_it(delivery.message.headers()));
        let at = at.unwrap_or_else(|| panic!("{what} did not arrive"));
        let delivery = deliveries.swap_remove(at);
        let came = &delivery.message;
        assert_eq!(came.payload_opt(), message.payload_opt(), "the payload of {what}");
        assert_eq!(came.key(), message.key(), "the key of {what}");
        assert_eq!(came.headers(), message.headers(), "the headers of {what}");
        member.ack(delivery).await;
    }
    member.leave().await;
}

/// Messages that lose something on careless ways, each marked by a header of its own.
fn specimens() -> Vec<(&'static str, Message)> {
    let header = |name: &'static str, value: Option<&'static [u8]>| {
        let mut message = Message::new("x");
        message.headers_mut().append(ByteString::from_static(name), value.map(bytes::Bytes::from_static));
        message
    };
    let mut duplicates = Message::new("x");
    for value in ["1", "2", "1"] {
        duplicates = duplicates.with_header("k", value).with_header("between", value);
    }
    let every_byte: Vec<u8> = (0..=255).collect();
    let specimens = vec![
        ("a plain message", Message::new("body").with_key("key").with_header("name", "value")),
        ("a payload of every byte", Message::new(every_byte.clone())),
        ("a payload of 100,000 bytes", Message::new(every_byte.repeat(400))),
        ("an empty payload", Message::new("")),
        ("a tombstone", Message::tombstone().with_key("key")),
        ("an empty key", Message::new("x").with_key("")),
        ("a key that is not UTF-8", Message::new("x").with_key(vec![0, 0, 0, 42, 0xff])),
        ("duplicate headers", duplicates),
        ("a null header", header("null", None)),
        ("an empty header", header("empty", Some(b""))),
        ("a header that is not UTF-8", header("bin", Some(b"\xff\x00\xfe"))),
        ("a header name that is not ASCII", header("nön-ascii", Some(b"x"))),
        ("an empty header name", header("", Some(b"y"))),
        ("names in another case", header("Traceparent", Some(b"not one"))),
    ];
    let mark = |(n, (what, mut message)): (usize, (&'static str, Message))| {
        message.headers_mut().append("specimen", Some(format!("{n}").into()));
        (what, message)
    };
    specimens.into_iter().enumerate().map(mark).collect()
}

/// The origin names the topic, and the place that the receipt named; the count begins at 1; one source hands out one
/// [`Destination`](throughline_core::Destination).
pub async fn origin_and_receipt_agree<B: Broker>(broker: &B) {
    let topic = topic(broker, 2).await;
    let mut sink = broker.sink(&topic);
    let mut receipts = Vec::new();
    for n in 0..10 {
        let message = Message::new(format!("{n}")).with_key(format!("key {n}"));
        receipts.push(send(broker, &mut sink, message).await);
    }
    let group = broker.fresh_name("group");
    let mut member = Member::join(broker, &topic, &group).await;
    let deliveries = member.take(receipts.len()).await;
    let mut first = None;
    for delivery in &deliveries {
        let origin = delivery.message.origin().expect("what was received has an origin");
        assert_eq!(&*origin.destination.name, topic.as_str());
        let shared = first.get_or_insert_with(|| origin.destination.clone());
        assert!(
            Arc::ptr_eq(shared, &origin.destination),
            "one `Arc<Destination>` for all messages of a source"
        );
        assert_eq!(origin.delivery_count, 1, "the first delivery counts 1");
        if let Some(time) = origin.time {
            let now = SystemTime::now();
            let apart = now.duration_since(time).or_else(|_| time.duration_since(now)).unwrap_or_default();
            assert!(apart < Duration::from_secs(300), "published {apart:?} away from now");
        }
        let n: usize = super::member::text(delivery).parse().expect("the payload that was sent");
        let receipt = &receipts[n];
        if receipt.partition.is_some() && receipt.offset.is_some() {
            let (partition, offset) = (receipt.partition, receipt.offset);
            assert_eq!((origin.partition, origin.offset), (partition, offset), "message {n}");
        }
        if receipt.id.is_some() {
            assert_eq!(origin.id, receipt.id, "message {n}");
        }
    }
    member.ack_all(deliveries).await;
    member.leave().await;
}
