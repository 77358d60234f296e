//! Payload, key and headers byte for byte, the place and the time.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test may panic and has tasks of its own"
)]

mod common;

use bytes::Bytes;
use common::*;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use throughline_core::Message;

#[tokio::test]
async fn absent_and_empty_are_told_apart_and_headers_keep_order_duplicates_and_nulls() {
    let broker = broker(1);
    let mut sent = [
        Message::tombstone(),
        Message::new(""),
        Message::tombstone().with_key("k"),
        Message::new(&b"\xff\x00"[..]).with_key(""),
        Message::new("x").with_key(&b"\x00\xfe"[..]),
    ];
    let headers = sent[1].headers_mut();
    headers.append("d", Bytes::from_static(b"1"));
    headers.append("d", Bytes::from_static(b"\xff"));
    headers.append("n", None);
    headers.append("", Bytes::new());
    sent.iter().for_each(|message| drop(send(&broker, message.clone())));
    let mut member = Member::join(&broker.subscribe("t").group("g"));
    let received = member.now();
    let records = broker.records("t");
    assert_eq!((received.len(), records.len()), (5, 5));
    for (sent, got) in sent.iter().zip(received.iter().map(|d| &d.message)).chain(sent.iter().zip(&records)) {
        assert_eq!(got.payload_opt(), sent.payload_opt());
        assert_eq!(got.key(), sent.key());
        assert_eq!(got.headers(), sent.headers());
    }
}

#[tokio::test]
async fn a_payload_is_shared_and_never_copied() {
    let broker = broker(1);
    let payload = Bytes::from(vec![7; 1 << 20]);
    send(&broker, Message::new(payload.clone()));
    let batch = Member::join(&broker.subscribe("t").group("g")).now();
    assert_eq!(batch[0].message.payload().as_ptr(), payload.as_ptr());
}

#[tokio::test]
async fn the_origin_says_where_and_when_and_extensions_stay_with_the_sender() {
    let broker = broker(3);
    let then = UNIX_EPOCH + Duration::from_secs(7);
    let mut message = Message::new("x").with_key("foobar").with_time(then);
    message.extensions_mut().insert(1_u8);
    let receipt = send(&broker, message);
    let before = SystemTime::now();
    send(&broker, Message::new("y").with_key("foobar"));
    let batch = Member::join(&broker.subscribe("t").group("g")).now();
    let origin = batch[0].message.origin().unwrap();
    assert_eq!((origin.partition, origin.offset), (receipt.partition, receipt.offset));
    assert_eq!(origin.partition, Some((-790332482_i32 & 0x7fff_ffff) % 3), "as Kafka's own client");
    assert_eq!((origin.time, origin.delivery_count), (Some(then), 1));
    assert!(batch[1].message.origin().unwrap().time.unwrap() >= before);
    assert!(batch[0].message.extensions().get::<u8>().is_none());
    let destination = &origin.destination;
    assert_eq!((&*destination.system, &*destination.name), ("throughline_memory", "t"));
    assert!(std::sync::Arc::ptr_eq(destination, &batch[1].message.origin().unwrap().destination));
}

#[tokio::test]
async fn without_a_key_the_partitions_take_turns() {
    let broker = broker(3);
    let turns: Vec<_> = (0..6).map(|_| send(&broker, Message::new("x")).partition.unwrap()).collect();
    assert_eq!(turns, [0, 1, 2, 0, 1, 2]);
    assert_eq!(send(&broker, Message::new("x").with_key("k").with_partition(2)).partition, Some(2));
}
