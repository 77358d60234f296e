//! What goes through a real broker comes out as it went in, and a send answers with what became of it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests count as no test for clippy")]

mod common;

use common::{Member, fill, id, kafka, raw, send, topic, unique, until, within};
use std::{
    collections::BTreeSet,
    future::poll_fn,
    sync::atomic::Ordering,
    time::{Duration, Instant, SystemTime},
};
use throughline_core::{Endpoint, ErrorKind, Message, Settlement};
use throughline_kafka::{HeadersUnreadable, Kafka};
use tower_service::Service;

fn hostile_headers() -> Message {
    let mut message = Message::new("body");
    let headers = message.headers_mut();
    headers.append("traceparent", Some("00-aa".into()));
    headers.append("traceparent", None);
    headers.append("", Some("no name".into()));
    headers.append("", Some("".into()));
    headers.append("TraceParent", Some(vec![0xff, 0x00, 0xfe].into()));
    headers.append("n\u{e4}me \u{1F980}", Some("value".into()));
    headers.append("traceparent", Some("00-bb".into()));
    message
}

#[tokio::test]
async fn records_arrive_byte_for_byte() {
    let kafka = kafka().set("message.max.bytes", "4000000");
    let name = unique("bytes");
    kafka.admin().create_topic_with(&name, 1, &[("max.message.bytes", "4000000")]).await.unwrap();
    let sent = [
        hostile_headers(),
        Message::tombstone().with_key("gone"),
        Message::new("").with_key(""),
        Message::new("no key"),
        Message::new("avro").with_key(vec![0, 0, 0, 0, 0x2a]),
        Message::new("not text").with_key(vec![0xff]),
        Message::new("long key").with_key(vec![0x61; 1 << 20]),
        Message::new(vec![0xc3; 1 << 20]).with_header("after", "a large body"),
        Message::new("at a time")
            .with_time(SystemTime::UNIX_EPOCH + Duration::from_millis(1_234_567_890_123)),
    ];
    let mut sink = kafka.topic(&name);
    for (n, message) in sent.iter().enumerate() {
        let receipt = within(send(&mut sink, message.clone())).await.unwrap();
        assert_eq!((receipt.partition, receipt.offset), (Some(0), Some(i64::try_from(n).unwrap())));
    }
    let mut member = Member::join(&kafka.group(&name).topic(&name), 100).await;
    let got = member.take(sent.len()).await;
    for (sent, got) in sent.iter().zip(&got) {
        assert_eq!(got.message.payload_opt(), sent.payload_opt());
        assert_eq!(got.message.key(), sent.key());
        assert_eq!(got.message.headers(), sent.headers());
        let origin = got.message.origin().unwrap();
        assert!(origin.time.is_some() && sent.time().is_none_or(|time| origin.time == Some(time)));
        assert_eq!(origin.destination.group.as_deref(), Some(&*name));
        assert_eq!((&*origin.destination.name, &*origin.destination.system), (&*name, "kafka"));
        assert_eq!(origin.destination.server.as_ref().map(|(host, _)| &**host), Some("127.0.0.1"));
    }
    drop(got);
    member.close().await.unwrap();
}

#[tokio::test]
async fn a_header_name_that_is_not_text_does_not_cost_the_message() {
    let kafka = kafka();
    let name = topic(&kafka, "names", 1).await;
    raw::produce(&std::env::var("THROUGHLINE_KAFKA").unwrap(), &name, b"\xff\xfe", b"raw");
    fill(&kafka, &name, 1, 1).await;
    let mut member = Member::join(&kafka.group(&name).topic(&name), 10).await;
    let mut got = member.take(2).await;
    assert_eq!(got[0].message.payload().as_ref(), b"raw");
    assert!(got[0].message.headers().is_empty());
    assert!(got[0].message.extensions().get::<HeadersUnreadable>().is_some());
    assert_eq!(id(&got[1].message), 0);
    assert_eq!(member.seen.unreadable.load(Ordering::SeqCst), 1);
    for delivery in got.drain(..) {
        member.settle(delivery, Settlement::Ack).await.unwrap();
    }
    member.close().await.unwrap();
    assert_eq!(kafka.admin().committed(&name, &name).await.unwrap(), [(0, Some(2))]);
}

#[tokio::test]
async fn a_key_goes_where_javas_clients_send_it() {
    let kafka = kafka();
    let name = topic(&kafka, "keys", 6).await;
    let mut sink = kafka.topic(&name);
    // Apache Kafka's own test vectors of murmur2.
    for (key, hash) in [
        ("21", -973_932_308_i32),
        ("foobar", -790_332_482),
        ("a-little-bit-long-string", -985_981_536),
        ("a-little-bit-longer-string", -1_486_304_829),
        ("abc", 479_470_107),
    ] {
        let receipt = within(send(&mut sink, Message::new("x").with_key(key))).await.unwrap();
        assert_eq!(receipt.partition, Some((hash & 0x7fff_ffff) % 6), "{key}");
    }
    let receipt = within(send(&mut sink, Message::new("x").with_key("abc").with_partition(5))).await.unwrap();
    assert_eq!(receipt.partition, Some(5));
}

#[tokio::test]
async fn what_is_too_large_is_said_with_topic_and_sizes() {
    let kafka = kafka();
    let name = small_topic(&kafka).await;
    let mut sink = kafka.topic(&name);
    // The first is refused by the topic, the second by the client itself.
    for (size, limit, setting) in
        [(5_000, "takes 1000:", "max.message.bytes"), (2_000_000, "is 1000000:", "message.max.bytes")]
    {
        let error = within(send(&mut sink, Message::new(vec![0; size]))).await.unwrap_err();
        assert_eq!((error.kind(), error.resource()), (ErrorKind::TooLarge, &*name));
        let text = error.to_string();
        assert!(text.contains(&format!("has {size} bytes")), "{text}");
        assert!(text.contains(limit) && text.contains(setting), "{text}");
    }
    assert!(within(send(&mut sink, Message::new("fits"))).await.is_ok());
}

/// What is written to a dead letter gives way: what came has to fit, or its partition would stop for it.
#[tokio::test]
async fn a_dead_letter_of_the_largest_message_is_sent() {
    let kafka = kafka().set("message.max.bytes", "1000");
    let name = topic(&kafka, "letters", 1).await;
    let mut sink = kafka.topic(&name);
    let letter = |size: usize| {
        let letter = Message::new(vec![b'x'; size]).with_header("own", "kept");
        letter.with_header("throughline-dead-letter-reason", "y".repeat(200))
    };
    for size in [500, 900] {
        send(&mut sink, letter(size)).await.unwrap();
    }
    assert_eq!(send(&mut sink, letter(1_000)).await.unwrap_err().kind(), ErrorKind::TooLarge);
    let mut member = Member::join(&self::kafka().group(&name).topic(&name), 10).await;
    let came = member.take(2).await;
    let headers = |n: usize| came[n].message.headers().len();
    assert_eq!((headers(0), headers(1)), (2, 1));
    assert!(came.iter().all(|letter| letter.message.headers().get("own").is_some()));
}

#[tokio::test]
async fn a_batch_that_is_too_large_is_told_from_a_message_that_is() {
    let kafka = kafka().set("linger.ms", "300");
    let name = small_topic(&kafka).await;
    let mut sink = kafka.topic(&name);
    let mut sent = Vec::new();
    for n in 0..4 {
        poll_fn(|cx| sink.poll_ready(cx)).await.unwrap();
        sent.push(sink.call(Message::new(vec![n; 600])));
    }
    for sent in sent {
        let text = within(sent).await.unwrap_err().to_string();
        assert!(
            text.contains("has 600 bytes") && text.contains("1000") && text.contains("batch.size"),
            "{text}"
        );
    }
    let careful = kafka.set("batch.size", "900");
    assert!(within(send(&mut careful.topic(&name), Message::new(vec![0; 600]))).await.is_ok());
}

/// A topic that takes 1,000 bytes at once.
async fn small_topic(kafka: &Kafka) -> String {
    let name = unique("small");
    kafka.admin().create_topic_with(&name, 1, &[("max.message.bytes", "1000")]).await.unwrap();
    name
}

#[tokio::test]
async fn a_send_waits_for_no_timer_over_five_milliseconds() {
    let kafka = kafka();
    let name = topic(&kafka, "fast", 1).await;
    let mut sink = kafka.topic(&name);
    within(send(&mut sink, Message::new("the first connects"))).await.unwrap();
    let mut best = Duration::MAX;
    for _ in 0..50 {
        let began = Instant::now();
        within(send(&mut sink, Message::new("x"))).await.unwrap();
        best = best.min(began.elapsed());
    }
    // The broker's own time comes to the timer's.
    assert!(best < Duration::from_millis(15), "{best:?}");
}

#[tokio::test]
async fn a_failure_that_nobody_awaited_is_told_by_flush() {
    // A batch is refused as a whole, so each message is one.
    let kafka = kafka().set("batch.num.messages", "1");
    let name = small_topic(&kafka).await;
    let mut sink = kafka.topic(&name);
    for size in [5_000, 10, 5_000] {
        poll_fn(|cx| sink.poll_ready(cx)).await.unwrap();
        // The future is dropped: the message is under way all the same.
        drop(sink.call(Message::new(vec![b'7'; size])));
    }
    let error = within(sink.flush()).await.unwrap_err();
    assert!(error.to_string().contains("2 messages"), "{error}");
    assert!(within(sink.clone().flush()).await.is_ok());
    let mut member = Member::join(&kafka.group(&name).topic(&name), 10).await;
    assert_eq!(member.take(1).await[0].message.payload().len(), 10);
}

#[tokio::test]
async fn a_topic_that_does_not_exist_is_named() {
    let mut sink = kafka().set("topic.metadata.propagation.max.ms", "1000").topic("no-such-topic");
    let error = within(send(&mut sink, Message::new("x"))).await.unwrap_err();
    assert_eq!((error.kind(), error.resource()), (ErrorKind::NotFound, "no-such-topic"));
    assert!(error.to_string().contains("auto.create.topics.enable"), "{error}");
}

/// What a topic does not take is said of the message that it is, and what went with it in one batch may be sent again.
#[tokio::test]
async fn a_partition_that_is_not_there_is_told_from_a_topic_that_is_not() {
    let kafka = kafka();
    let name = topic(&kafka, "few", 2).await;
    let mut sink = kafka.topic(&name);
    let error = within(send(&mut sink, Message::new("x").with_partition(7))).await.unwrap_err();
    assert_eq!((error.kind(), error.resource()), (ErrorKind::NotFound, &*name));
    assert!(error.to_string().contains("no such partition"), "{error}");
    send(&mut sink, Message::new("x").with_partition(1)).await.unwrap();
}

#[tokio::test]
async fn a_record_that_its_topic_refuses_is_told_from_what_went_with_it() {
    let kafka = kafka().set("linger.ms", "200");
    let [compacted, timed] = [unique("compacted"), unique("timed")];
    kafka.admin().create_topic_with(&compacted, 1, &[("cleanup.policy", "compact")]).await.unwrap();
    let hour = [("message.timestamp.before.max.ms", "3600000")];
    kafka.admin().create_topic_with(&timed, 1, &hour).await.unwrap();
    let old = Message::new("old").with_time(SystemTime::now() - Duration::from_secs(7_200));
    let keyed = |key: &'static str| Message::new("x").with_key(key);
    for (name, bad, word) in [(&compacted, Message::new("no key"), "key"), (&timed, old, "timestamp")] {
        let mut sink = kafka.topic(name);
        let mut sends = Vec::new();
        for message in [keyed("a"), bad, keyed("b")] {
            poll_fn(|cx| sink.poll_ready(cx)).await.unwrap();
            sends.push(sink.call(message));
        }
        for (n, sent) in sends.into_iter().enumerate() {
            match (n, within(sent).await) {
                (1, sent) => {
                    let error = sent.unwrap_err();
                    assert_eq!((error.kind(), error.resource()), (ErrorKind::Unrepresentable, &**name));
                    assert!(error.to_string().contains(word), "{error}");
                }
                (_, Err(error)) => assert!(error.is_retriable(), "{error}"),
                (_, Ok(_)) => {}
            }
        }
        send(&mut sink, keyed("c")).await.unwrap();
    }
}

#[tokio::test]
async fn a_full_queue_is_back_pressure_and_no_error() {
    let kafka = kafka().set("queue.buffering.max.messages", "10");
    let name = topic(&kafka, "full", 2).await;
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..500_u32 {
        let mut sink = kafka.topic(&name);
        tasks.spawn(async move { send(&mut sink, Message::new(n.to_string())).await });
    }
    let mut places = BTreeSet::new();
    while let Some(result) = within(tasks.join_next()).await {
        let receipt = result.unwrap().unwrap();
        assert!(places.insert((receipt.partition, receipt.offset)));
    }
    assert_eq!(places.len(), 500);
}

#[tokio::test]
async fn what_is_under_way_is_delivered_after_the_last_handle_is_gone() {
    let name = topic(&kafka(), "last", 1).await;
    let kafka_for_sink = kafka().set("linger.ms", "300");
    let mut sink = kafka_for_sink.topic(&name);
    for n in 0..100_u32 {
        poll_fn(|cx| sink.poll_ready(cx)).await.unwrap();
        drop(sink.call(Message::new(n.to_string())));
    }
    drop((sink, kafka_for_sink));
    let mut member = Member::join(&kafka().group(&name).topic(&name), 1000).await;
    assert_eq!(member.take(100).await.len(), 100);
}

#[tokio::test]
async fn every_codec_of_this_build_is_read() {
    for codec in ["gzip", "snappy", "lz4", "zstd"] {
        let kafka = kafka().set("compression.type", codec);
        let name = topic(&kafka, codec, 1).await;
        fill(&kafka, &name, 1, 200).await;
        let mut member = Member::join(&kafka.group(&name).topic(&name), 1000).await;
        let got: Vec<u32> = member.take(200).await.iter().map(|delivery| id(&delivery.message)).collect();
        assert_eq!(got, (0..200).collect::<Vec<_>>(), "{codec}");
    }
}

#[tokio::test]
async fn batches_that_javas_client_has_compressed_are_read() {
    let kafka = kafka();
    // As Java's producer 4.4 wrote three records at once: its snappy, for one, has a framing of its own.
    for (codec, batch) in [
        ("gzip", &include_bytes!("batches/java-gzip.bin")[..]),
        ("snappy", include_bytes!("batches/java-snappy.bin")),
        ("lz4", include_bytes!("batches/java-lz4.bin")),
        ("zstd", include_bytes!("batches/java-zstd.bin")),
    ] {
        let name = unique(codec);
        // They are from 2023.
        kafka.admin().create_topic_with(&name, 1, &[("retention.ms", "-1")]).await.unwrap();
        raw::produce_batch(&std::env::var("THROUGHLINE_KAFKA").unwrap(), &name, batch);
        let mut member = Member::join(&kafka.group(&name).topic(&name), 10).await;
        for (n, delivery) in member.take(3).await.iter().enumerate() {
            let text = format!("{n} by Java, by Java, by Java, by Java");
            assert_eq!(delivery.message.payload().as_ref(), text.as_bytes(), "{codec}");
            assert_eq!(delivery.message.key().unwrap().as_ref(), b"key");
        }
    }
}

#[tokio::test]
async fn a_commit_says_so() {
    let kafka = kafka();
    let name = topic(&kafka, "says", 1).await;
    fill(&kafka, &name, 1, 3).await;
    let subscription = kafka.group(&name).topic(&name).commit_interval(Duration::from_millis(50));
    let mut member = Member::join(&subscription, 10).await;
    for delivery in member.take(3).await {
        member.settle(delivery, Settlement::Ack).await.unwrap();
    }
    until(|| member.seen.committed.lock().unwrap().last() == Some(&(0, 3))).await;
    member.close().await.unwrap();
}
