//! The message: the same type for what is received and what is sent.

use crate::{Extensions, Headers, Lease, Origin};
use bytes::Bytes;
use std::{fmt, sync::Arc, time::SystemTime};

/// A message, received or to be sent. Three pointers: cheap to move and to clone, and copied only where a clone is
/// changed.
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
#[derive(Clone, Default)]
pub struct Message {
    /// Apart from the rest, because a message is moved about ten times on its way through a worker: at its full size
    /// that was two fifths of all instructions. One allocation for each message, none for a clone.
    content: Arc<Content>,
    // Not in there: each delivery gets its own, while clones of its content are about.
    extensions: Extensions,
    lease: Lease,
}

#[derive(Clone, Default)]
struct Content {
    payload: Option<Bytes>,
    key: Option<Bytes>,
    headers: Headers,
    partition: Option<i32>,
    time: Option<SystemTime>,
    origin: Option<Origin>,
}

impl Message {
    /// A message with this payload.
    pub fn new(payload: impl Into<Bytes>) -> Self {
        Message::of(Content { payload: Some(payload.into()), ..Content::default() })
    }

    /// A message without a payload.
    pub fn tombstone() -> Self {
        Message::default()
    }

    /// A message with the payload that a broker delivered, which may be absent.
    pub fn received(payload: Option<Bytes>, key: Option<Bytes>, headers: Headers, origin: Origin) -> Self {
        Message::of(Content { payload, key, headers, origin: Some(origin), ..Content::default() })
    }

    fn of(content: Content) -> Self {
        Message { content: Arc::new(content), extensions: Extensions::default(), lease: Lease::forever() }
    }

    /// To change; copied first if a clone shares it.
    fn content(&mut self) -> &mut Content {
        Arc::make_mut(&mut self.content)
    }

    /// Sets the key, by which brokers choose a partition and workers a lane.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<Bytes>) -> Self {
        self.content().key = Some(key.into());
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<crate::ByteString>, value: impl Into<Bytes>) -> Self {
        self.content().headers.append(name, Some(value.into()));
        self
    }

    /// Sends to exactly this partition, where the broker has them.
    #[must_use]
    pub fn with_partition(mut self, partition: i32) -> Self {
        self.content().partition = Some(partition);
        self
    }

    /// Sends with this time in place of now, where the broker lets a producer say it.
    #[must_use]
    pub fn with_time(mut self, time: SystemTime) -> Self {
        self.content().time = Some(time);
        self
    }

    /// The payload; empty if there is none. [`is_tombstone`](Self::is_tombstone) tells the two apart.
    pub fn payload(&self) -> &Bytes {
        static NONE: Bytes = Bytes::new();
        self.content.payload.as_ref().unwrap_or(&NONE)
    }

    /// The payload as the broker has it: `None` for a tombstone.
    pub fn payload_opt(&self) -> Option<&Bytes> {
        self.content.payload.as_ref()
    }

    /// Whether there is no payload at all.
    pub fn is_tombstone(&self) -> bool {
        self.content.payload.is_none()
    }

    /// The key, if there is one.
    pub fn key(&self) -> Option<&Bytes> {
        self.content.key.as_ref()
    }

    /// The headers.
    pub fn headers(&self) -> &Headers {
        &self.content.headers
    }

    /// The headers, to change.
    pub fn headers_mut(&mut self) -> &mut Headers {
        &mut self.content().headers
    }

    /// The partition to send to, if one was asked for.
    pub fn partition(&self) -> Option<i32> {
        self.content.partition
    }

    /// The time to send with, if one was given.
    pub fn time(&self) -> Option<SystemTime> {
        self.content.time
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
        self.content.origin.as_ref()
    }

    /// The same, to change; a worker counts redeliveries here.
    pub fn origin_mut(&mut self) -> Option<&mut Origin> {
        self.content().origin.as_mut()
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
        let headers =
            self.content.headers.iter().map(|h| h.name.len() + h.value.as_ref().map_or(0, Bytes::len));
        self.payload().len() + self.content.key.as_ref().map_or(0, Bytes::len) + headers.sum::<usize>()
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Content { payload, key, headers, partition, time, origin } = &*self.content;
        let mut message = f.debug_struct("Message");
        message.field("payload", payload).field("key", key).field("headers", headers);
        message.field("partition", partition).field("time", time).field("origin", origin);
        message.field("lease", &self.lease).finish_non_exhaustive()
    }
}
