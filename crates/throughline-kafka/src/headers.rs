//! A record of Kafka's as a message: copied once, into one buffer.

use bytes::Bytes;
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

/// Makes messages of records. Key, header names, header values and body of one share one buffer of exactly their size.
#[derive(Default)]
pub(crate) struct Copier {
    /// How long name and value of each header of the record at hand are; kept for its capacity.
    lengths: Vec<(usize, Option<usize>)>,
}

impl Copier {
    pub(crate) fn message<R: rdkafka::Message>(
        &mut self,
        record: &R,
        destination: &Arc<Destination>,
    ) -> Message {
        let mut origin = Origin::new(destination.clone());
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
        self.lengths.clear();
        // The names are read for their length first: what cannot be read fails here, before anything was copied.
        let read = catch_unwind(AssertUnwindSafe(|| {
            let of = |h: RecordHeader<'_, &[u8]>| (h.key.len(), h.value.map(<[u8]>::len));
            self.lengths.extend(headers.into_iter().flat_map(RecordHeaders::iter).map(of));
        }));
        let unreadable = read.is_err();
        if unreadable {
            self.lengths.clear();
        }
        let of_headers: usize = self.lengths.iter().map(|(name, value)| name + value.unwrap_or(0)).sum();
        let length = |part: Option<&[u8]>| part.map_or(0, <[u8]>::len);
        let mut buffer = Vec::with_capacity(length(key) + length(payload) + of_headers);
        for part in [key, payload].into_iter().flatten() {
            buffer.extend_from_slice(part);
        }
        if let Some(headers) = headers.filter(|_| !unreadable) {
            for header in headers.iter() {
                buffer.extend_from_slice(header.key.as_bytes());
                buffer.extend_from_slice(header.value.unwrap_or_default());
            }
        }
        let mut rest = Bytes::from(buffer);
        let mut next = |length: usize| rest.split_to(length);
        let key = key.map(|key| next(key.len()));
        let payload = payload.map(|payload| next(payload.len()));
        let header = |&(name, value): &(usize, Option<usize>)| Header {
            // Always UTF-8, since it was a `str` a moment ago.
            name: ByteString::try_from(next(name)).unwrap_or_default(),
            value: value.map(&mut next),
        };
        let list: Headers = self.lengths.iter().map(header).collect();
        let mut message = Message::received(payload, key, list, origin);
        if unreadable {
            message.extensions_mut().insert(HeadersUnreadable);
        }
        message
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
        for (name, value) in [("k", Some("1")), ("", Some("")), ("k", None), ("k", Some("2"))] {
            headers.append(name, value.map(Bytes::from));
        }
        let sent = to_record(&headers, "t").unwrap();
        let message =
            Copier::default().message(&record(Some(b"\xff\x00"), Some(b"body"), sent), &destination());
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
        let of = |key, payload| Copier::default().message(&record(key, payload, None), &destination());
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
