//! The message: the same type for what is received and what is sent.

use crate::{Extensions, Headers, Lease, Origin};
use bytes::Bytes;
use std::time::SystemTime;

/// A message, received or to be sent. Cheap to clone: everything in it is reference counted.
///
/// An absent payload (a tombstone) is not an empty one, and an absent key is not an empty one.
///
/// ```
/// use throughline_core::Message;
///
/// let message = Message::new("body").with_key("customer-7");
/// assert_eq!(message.payload().as_ref(), b"body");
/// assert!(Message::tombstone().is_tombstone());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Message {
    payload: Option<Bytes>,
    key: Option<Bytes>,
    headers: Headers,
    partition: Option<i32>,
    time: Option<SystemTime>,
    extensions: Extensions,
    origin: Option<Origin>,
    lease: Lease,
}

impl Message {
    /// A message with this payload.
    pub fn new(payload: impl Into<Bytes>) -> Self {
        Message { payload: Some(payload.into()), ..Message::default() }
    }

    /// A message without a payload.
    pub fn tombstone() -> Self {
        Message::default()
    }

    /// A message with the payload that a broker delivered, which may be absent.
    pub fn received(payload: Option<Bytes>, key: Option<Bytes>, headers: Headers, origin: Origin) -> Self {
        Message { payload, key, headers, origin: Some(origin), ..Message::default() }
    }

    /// Sets the key, by which brokers choose a partition and workers a lane.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<crate::ByteString>, value: impl Into<Bytes>) -> Self {
        self.headers.append(name, Some(value.into()));
        self
    }

    /// Sends to exactly this partition, where the broker has them.
    #[must_use]
    pub fn with_partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Sends with this time in place of now, where the broker lets a producer say it.
    #[must_use]
    pub fn with_time(mut self, time: SystemTime) -> Self {
        self.time = Some(time);
        self
    }

    /// The payload; empty if there is none. [`is_tombstone`](Self::is_tombstone) tells the two apart.
    pub fn payload(&self) -> &Bytes {
        static NONE: Bytes = Bytes::new();
        self.payload.as_ref().unwrap_or(&NONE)
    }

    /// The payload as the broker has it: `None` for a tombstone.
    pub fn payload_opt(&self) -> Option<&Bytes> {
        self.payload.as_ref()
    }

    /// Whether there is no payload at all.
    pub fn is_tombstone(&self) -> bool {
        self.payload.is_none()
    }

    /// The key, if there is one.
    pub fn key(&self) -> Option<&Bytes> {
        self.key.as_ref()
    }

    /// The headers.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The headers, to change.
    pub fn headers_mut(&mut self) -> &mut Headers {
        &mut self.headers
    }

    /// The partition to send to, if one was asked for.
    pub fn partition(&self) -> Option<i32> {
        self.partition
    }

    /// The time to send with, if one was given.
    pub fn time(&self) -> Option<SystemTime> {
        self.time
    }

    /// Values that travel with the message inside this process.
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// The same, to add to.
    pub fn extensions_mut(&mut self) -> &mut Extensions {
        &mut self.extensions
    }

    /// Where it was received from; `None` for a message that was made here.
    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// The same, to change; a worker counts redeliveries here.
    pub fn origin_mut(&mut self) -> Option<&mut Origin> {
        self.origin.as_mut()
    }

    /// Whether the delivery that this message came with is still ours; a message that was made here cannot be lost.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Says which lease it is under; a worker does this for what it hands to a stack.
    pub fn set_lease(&mut self, lease: Lease) {
        self.lease = lease;
    }

    /// Bytes that this message holds in memory, near enough for a budget.
    pub fn size(&self) -> usize {
        let headers = self.headers.iter().map(|h| h.name.len() + h.value.as_ref().map_or(0, Bytes::len));
        self.payload().len() + self.key.as_ref().map_or(0, Bytes::len) + headers.sum::<usize>()
    }
}
