//! A record of Kafka's as a message: copied once, into one buffer.

use crate::consume::buffer::shared;
use rdkafka::{
    Timestamp,
    message::{Header as RecordHeader, Headers as RecordHeaders, OwnedHeaders},
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, SystemTime},
};
use throughline_core::{ByteString, Destination, Error, ErrorKind, Header, Headers, Message, Origin};

/// The end of the year 9999, in milliseconds: what is beyond it is not a time but garbage.
const LAST_MILLISECOND: i64 = 253_402_300_799_999;

/// Marks a message whose headers could not be read, because one of their names is not UTF-8. It was delivered without
/// any header; find the mark in [`Message::extensions`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadersUnreadable;

/// Names that are never copied: those of the contexts that we and others write.
const KNOWN: [&str; 4] = ["traceparent", "tracestate", "baggage", "content-type"];

/// As many headers of a record are read once; more are read again when they are copied.
const READ_ONCE: usize = 8;

/// Makes messages of records. Key, body and headers of one share one buffer.
#[derive(Default)]
pub(crate) struct Copier {
    /// What was read of each header of the record at hand; kept for its capacity.
    shapes: Vec<Shape>,
}

/// What there is to copy of one header.
struct Shape {
    name: Name,
    value: Option<usize>,
}

enum Name {
    Known(&'static str),
    /// So many bytes of the buffer.
    Copied(usize),
}

impl Copier {
    pub(crate) fn message<R: rdkafka::Message>(
        &mut self,
        record: &R,
        destination: Arc<Destination>,
    ) -> Message {
        let mut origin = Origin::new(destination);
        origin.partition = Some(record.partition());
        origin.offset = Some(record.offset());
        origin.time = time(record.timestamp());
        self.build(record.key(), record.payload(), record.headers(), origin)
    }

    fn build<H: RecordHeaders>(
        &mut self,
        key: Option<&[u8]>,
        payload: Option<&[u8]>,
        headers: Option<&H>,
        origin: Origin,
    ) -> Message {
        self.shapes.clear();
        let mut read: [(&str, Option<&[u8]>); READ_ONCE] = [("", None); READ_ONCE];
        // All names are read before anything is copied: what cannot be read fails here.
        let readable = catch_unwind(AssertUnwindSafe(|| {
            for (n, header) in headers.into_iter().flat_map(RecordHeaders::iter).enumerate() {
                self.shapes.push(Shape::of(header.key, header.value));
                if let Some(read) = read.get_mut(n) {
                    *read = (header.key, header.value);
                }
            }
        }));
        let unreadable = readable.is_err();
        if unreadable {
            self.shapes.clear();
        }
        let length = |part: Option<&[u8]>| part.map_or(0, <[u8]>::len);
        let length = length(key) + length(payload) + self.shapes.iter().map(Shape::length).sum::<usize>();
        let mut rest = shared(length, |buffer| {
            for part in [key, payload].into_iter().flatten() {
                buffer.put_slice(part);
            }
            for (n, shape) in self.shapes.iter().enumerate() {
                let again = || headers.and_then(|headers| headers.try_get(n)).map(|h| (h.key, h.value));
                let (name, value) = read.get(n).copied().or_else(again).unwrap_or_default();
                if let Name::Copied(_) = shape.name {
                    buffer.put_slice(name.as_bytes());
                }
                buffer.put_slice(value.unwrap_or_default());
            }
        });
        let mut next = |length: usize| rest.split_to(length);
        let key = key.map(|key| next(key.len()));
        let payload = payload.map(|payload| next(payload.len()));
        let header = |shape: &Shape| Header {
            name: match shape.name {
                Name::Known(name) => ByteString::from_static(name),
                // Always UTF-8, since it was a `str` a moment ago.
                Name::Copied(length) => ByteString::try_from(next(length)).unwrap_or_default(),
            },
            value: shape.value.map(&mut next),
        };
        let list: Headers = self.shapes.iter().map(header).collect();
        let mut message = Message::received(payload, key, list, origin);
        if unreadable {
            message.extensions_mut().insert(HeadersUnreadable);
        }
        message
    }
}

impl Shape {
    fn of(name: &str, value: Option<&[u8]>) -> Self {
        let known = KNOWN.iter().find(|known| **known == name);
        let name = known.map_or(Name::Copied(name.len()), |known| Name::Known(known));
        Shape { name, value: value.map(<[u8]>::len) }
    }

    /// Bytes of it that are copied.
    fn length(&self) -> usize {
        let name = if let Name::Copied(length) = self.name { length } else { 0 };
        name + self.value.unwrap_or(0)
    }
}

fn time(timestamp: Timestamp) -> Option<SystemTime> {
    let millis = timestamp.to_millis().filter(|millis| (0..=LAST_MILLISECOND).contains(millis))?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis.unsigned_abs()))
}

/// Headers as the producer takes them; `None` if there are none.
///
/// # Errors
/// `Unrepresentable` for a name with a NUL byte: Kafka would take it, but readers on librdkafka would cut it off there.
pub(crate) fn to_record(headers: &Headers, topic: &str) -> Result<Option<OwnedHeaders>, Error> {
    if headers.is_empty() {
        return Ok(None);
    }
    let mut list = OwnedHeaders::new_with_capacity(headers.len());
    for header in headers.iter() {
        if header.name.contains('\0') {
            return Err(Error::new(
                ErrorKind::Unrepresentable,
                topic,
                format!("the name of header {:?} has a NUL byte; take it out", &*header.name),
            ));
        }
        let value = header.value.as_deref();
        list = list.insert(RecordHeader { key: &header.name, value });
    }
    Ok(Some(list))
}

/// Milliseconds to send with.
///
/// # Errors
/// `Unrepresentable` for a time at or before 1970, which the client takes for "now".
pub(crate) fn to_timestamp(time: Option<SystemTime>, topic: &str) -> Result<Option<i64>, Error> {
    let Some(time) = time else { return Ok(None) };
    let millis =
        time.duration_since(SystemTime::UNIX_EPOCH).ok().and_then(|t| i64::try_from(t.as_millis()).ok());
    millis.filter(|millis| (1..=LAST_MILLISECOND).contains(millis)).map(Some).ok_or_else(|| {
        Error::new(
            ErrorKind::Unrepresentable,
            topic,
            "a record's time must be after 1970 and before the year 10000",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use rdkafka::message::OwnedMessage;

    fn destination() -> Arc<Destination> {
        Arc::new(Destination::new("kafka", "t"))
    }

    fn record(key: Option<&[u8]>, payload: Option<&[u8]>, headers: Option<OwnedHeaders>) -> OwnedMessage {
        let (key, payload) = (key.map(<[u8]>::to_vec), payload.map(<[u8]>::to_vec));
        OwnedMessage::new(payload, key, "t".to_owned(), Timestamp::CreateTime(5), 3, 9, headers)
    }

    #[test]
    fn everything_is_kept_and_shares_one_buffer() {
        let mut headers = Headers::new();
        let some =
            [("k", Some("1")), ("", Some("")), ("k", None), ("traceparent", Some("00")), ("k", Some("2"))];
        // So many that some are read again to be copied.
        for (name, value) in some.iter().cycle().take(2 * READ_ONCE) {
            headers.append(*name, value.map(Bytes::from));
        }
        let sent = to_record(&headers, "t").unwrap();
        let message =
            Copier::default().message(&record(Some(b"\xff\x00"), Some(b"body"), sent), destination());
        assert_eq!(*message.headers(), headers);
        assert_eq!(message.key().unwrap().as_ref(), b"\xff\x00");
        assert_eq!(message.payload().as_ref(), b"body");
        let origin = message.origin().unwrap();
        assert_eq!((origin.partition, origin.offset, origin.delivery_count), (Some(3), Some(9), 1));
        assert_eq!(origin.time, SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(5)));
        // One buffer: the body starts where the key ends.
        assert_eq!(message.payload().as_ptr() as usize - message.key().unwrap().as_ptr() as usize, 2);
    }

    #[test]
    fn absent_is_not_empty() {
        let of = |key, payload| Copier::default().message(&record(key, payload, None), destination());
        assert!(of(None, None).is_tombstone() && of(None, None).key().is_none());
        let empty = of(Some(b""), Some(b""));
        assert!(!empty.is_tombstone() && empty.key().is_some_and(|key| key.is_empty()));
    }

    #[test]
    fn times_that_are_none_are_none() {
        for garbage in [-1, i64::MIN, i64::MAX, LAST_MILLISECOND + 1] {
            assert_eq!(time(Timestamp::CreateTime(garbage)), None, "{garbage}");
        }
        assert_eq!(time(Timestamp::NotAvailable), None);
        assert_eq!(time(Timestamp::LogAppendTime(0)), Some(SystemTime::UNIX_EPOCH));
        assert!(time(Timestamp::CreateTime(LAST_MILLISECOND)).is_some());
        assert!(to_timestamp(Some(SystemTime::UNIX_EPOCH), "t").is_err());
    }

    #[test]
    fn a_name_with_a_nul_byte_is_a_typed_error() {
        let mut headers = Headers::new();
        headers.append("a\0b", None);
        assert_eq!(to_record(&headers, "t").unwrap_err().kind(), ErrorKind::Unrepresentable);
    }

    /// Headers as the client has them: reading a name that is not UTF-8 panics.
    struct BadNames;

    impl RecordHeaders for BadNames {
        fn count(&self) -> usize {
            2
        }
        fn try_get(&self, idx: usize) -> Option<RecordHeader<'_, &[u8]>> {
            let bytes: &[u8] = if idx == 0 { b"fine" } else { b"\xff\xfe" };
            Some(RecordHeader { key: std::str::from_utf8(bytes).unwrap(), value: None })
        }
    }

    #[test]
    fn a_name_that_is_not_text_costs_the_headers_and_not_the_message() {
        let message =
            Copier::default().build(Some(b"k"), Some(b"body"), Some(&BadNames), Origin::new(destination()));
        assert!(message.headers().is_empty());
        assert_eq!((message.payload().as_ref(), message.key().unwrap().as_ref()), (&b"body"[..], &b"k"[..]));
        assert_eq!(message.extensions().get::<HeadersUnreadable>(), Some(&HeadersUnreadable));
    }
}
