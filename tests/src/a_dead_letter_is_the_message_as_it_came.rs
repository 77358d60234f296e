//! FC-51: what a dead letter is made of, also at its second passage.

use crate::{
    Inbox, Site, Stage, Told,
    steps::{creation, header, parse, place},
};
use bytes::Bytes;
use std::time::{Duration, SystemTime};
use throughline::{
    BoxError, ByteString, DeadLetter, Header, Message, Publisher, Rejected, State, Worker, dead_letter,
    forward, handler, handler_with,
};
use throughline_test::Expect;

/// Rejected, replayed, rejected again: the list of headers is the same byte for byte both times, with our own fields
/// once; key, payload and time are kept, and the propagation fields alone are replaced.
pub async fn headers_come_through_two_dead_letters_byte_for_byte<B: Site>(broker: &B) {
    let mut stage = Stage::new(broker);
    let (topic, letters) = (stage.topic(1).await, stage.topic(1).await);
    let dead = DeadLetter::to(stage.publisher(&letters));
    stage.spawn(
        Worker::new("w", stage.subscription(&topic), || handler(|| async { Rejected::new("never") }))
            .dead_letter(dead),
    );
    let (told, mut inbox) = Inbox::new();
    let state = (told, stage.publisher(&topic));
    stage.spawn(Worker::new("letters", stage.subscription(&letters), move || {
        handler_with(state.clone(), replay_the_first)
    }));
    // To the millisecond, as brokers keep it.
    let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
    let mut message = Message::new("body").with_key("key").with_time(time);
    message.headers_mut().extend(specimen());
    stage.publisher(&topic).send(message).await.unwrap();
    let passages = inbox.take(2).await;
    let graph = stage.end().await;

    // Publish, letter, replay, letter; the last three link to where they came from.
    graph.check(&Expect::new().spans(8).sends(4).process_spans(4).links(7).components(1)).unwrap();
    for (offset, letter) in passages.iter().enumerate() {
        let theirs: Vec<Header> = letter.headers().iter().filter(|h| !is_ours(&h.name)).cloned().collect();
        assert_eq!(theirs, specimen(), "at passage {}", offset + 1);
        for name in OURS {
            let count = letter.headers().iter().filter(|h| &*h.name == name).count();
            assert_eq!(count, 1, "`{name}` at passage {}", offset + 1);
        }
        assert_eq!(letter.payload().as_ref(), b"body");
        assert_eq!(letter.key().map(|key| &key[..]), Some(&b"key"[..]));
        assert_eq!(letter.origin().unwrap().time, Some(time));
        assert_eq!(place(letter), (0, offset as i64));
        assert_eq!(header(letter, dead_letter::OFFSET), Some(&*offset.to_string()));
        assert_eq!(header(letter, dead_letter::ERROR_TYPE), Some("rejected"));
        assert_eq!(header(letter, dead_letter::REASON), Some("message rejected: never"));
        assert!(graph.get(creation(letter)).is_some_and(|send| send.name == format!("send {letters}")));
        let original = parse(header(letter, dead_letter::TRACEPARENT).unwrap());
        let first = graph.get(original).expect("the first send");
        assert!(first.parent.is_none(), "the context of the first publish, also at passage {}", offset + 1);
    }
}

/// What we write beside the headers of the message.
const OURS: [&str; 10] = [
    "traceparent",
    dead_letter::SYSTEM,
    dead_letter::DESTINATION,
    dead_letter::PARTITION,
    dead_letter::OFFSET,
    dead_letter::TIME,
    dead_letter::ATTEMPTS,
    dead_letter::ERROR_TYPE,
    dead_letter::REASON,
    dead_letter::TRACEPARENT,
];

fn is_ours(name: &str) -> bool {
    OURS.contains(&name)
}

fn specimen() -> Vec<Header> {
    let header = |name: &'static str, value: Option<&'static [u8]>| Header {
        name: ByteString::from_static(name),
        value: value.map(Bytes::from_static),
    };
    vec![
        header("k", Some(b"1")),
        header("k", Some(b"2")),
        header("bin", Some(b"\xff")),
        header("n", None),
        header("e", Some(b"")),
        header("Ünïcode", Some(b"x")),
        header("", Some(b"y")),
        header("retry-count", Some(b"1")),
    ]
}

async fn replay_the_first(
    letter: Message,
    State((told, back)): State<(Told, Publisher)>,
) -> Result<(), BoxError> {
    if place(&letter).1 == 0 {
        let mut replayed = forward(&letter);
        if let Some(time) = letter.origin().and_then(|origin| origin.time) {
            replayed = replayed.with_time(time);
        }
        back.send(replayed).await?;
    }
    told.tell(letter);
    Ok(())
}
