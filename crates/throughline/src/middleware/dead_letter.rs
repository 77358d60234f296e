//! Where rejected messages go.

use crate::Publisher;
use bytes::Bytes;
use std::time::{Duration, UNIX_EPOCH};
use throughline_core::{BoxError, ByteString, Message};
use throughline_trace::{TraceContext, codec, forward};

/// The headers that a dead letter has beside those of the message. Written once, however often it is put aside;
/// values are UTF-8.
pub mod fields {
    /// The value of `messaging.system` where it was received.
    pub const SYSTEM: &str = "throughline-dead-letter-system";
    /// The topic or queue.
    pub const DESTINATION: &str = "throughline-dead-letter-destination";
    /// The subscription it was received through, where there are several to a topic.
    pub const SUBSCRIPTION: &str = "throughline-dead-letter-subscription";
    /// The partition, where there was one.
    pub const PARTITION: &str = "throughline-dead-letter-partition";
    /// The offset, where there was one.
    pub const OFFSET: &str = "throughline-dead-letter-offset";
    /// The broker's identity of the message, where there was one.
    pub const ID: &str = "throughline-dead-letter-id";
    /// When it was published, in milliseconds since the Unix epoch, where that was known.
    pub const TIME: &str = "throughline-dead-letter-time";
    /// Why: the text of the last error, at most 1,024 bytes.
    pub const REASON: &str = "throughline-dead-letter-reason";
    /// The low-cardinality word for it, as in `error.type`.
    pub const ERROR_TYPE: &str = "throughline-dead-letter-error-type";
    /// How often it was delivered.
    pub const ATTEMPTS: &str = "throughline-dead-letter-attempts";
    /// The context that the message was first published with, as a `traceparent`. The message's own `traceparent` is
    /// that of the dead letter's send span.
    pub const TRACEPARENT: &str = "throughline-dead-letter-traceparent";
    /// The same of `tracestate`.
    pub const TRACESTATE: &str = "throughline-dead-letter-tracestate";

    pub(super) const PREFIX: &str = "throughline-dead-letter-";
}

/// The longest reason that is written, in bytes.
const LONGEST_REASON: usize = 1024;

/// A publisher for messages that cannot be handled.
///
/// A rejected message is published with payload, key and headers as they came (propagation fields apart), with its
/// origin, the reason, the number of attempts and the trace context that it was first published with (see
/// [`fields`]). It is acknowledged only after the publisher's broker accepted it; until then it is held and tried
/// again.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    pub(crate) publisher: Publisher,
    pub(crate) after: u32,
}

impl DeadLetter {
    /// Sends there what is rejected, and what failed ten times.
    pub fn to(publisher: Publisher) -> Self {
        DeadLetter { publisher, after: 10 }
    }

    /// How many failed deliveries make a message a dead letter; a rejected one is at once.
    #[must_use]
    pub fn after(mut self, deliveries: u32) -> Self {
        self.after = deliveries.max(1);
        self
    }
}

/// What becomes of a rejected message without a [`DeadLetter`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnReject {
    /// It is held and tried again with a delay that grows to five minutes; status and log say where. Nothing is lost,
    /// and behind a committed offset a log fills up until somebody decides.
    #[default]
    Hold,
    /// It is acknowledged and counted: the only way to drop a message.
    Discard,
}

/// The message to publish in place of one that cannot be handled.
pub(crate) fn dead_letter(message: &Message, error_type: &str, reason: Option<&BoxError>) -> Message {
    let creation = message.creation_context();
    let mut letter = forward(message);
    if let Some(time) = message.origin().and_then(|origin| origin.time) {
        letter = letter.with_time(time);
    }
    let headers = letter.headers_mut();
    // A second passage keeps the first context: it is the one that the message was published with.
    let kept: Vec<_> = headers
        .iter()
        .filter(|h| &*h.name == fields::TRACEPARENT || &*h.name == fields::TRACESTATE)
        .cloned()
        .collect();
    headers.retain(|h| !h.name.starts_with(fields::PREFIX));
    let mut set = |name: &'static str, value: String| {
        headers.append(ByteString::from_static(name), Bytes::from(value));
    };
    if let Some(origin) = message.origin() {
        set(fields::SYSTEM, origin.destination.system.to_string());
        set(fields::DESTINATION, origin.destination.name.to_string());
        if let Some(subscription) = &origin.destination.subscription {
            set(fields::SUBSCRIPTION, subscription.to_string());
        }
        let numbers = [
            (fields::PARTITION, origin.partition.map(i64::from)),
            (fields::OFFSET, origin.offset),
            (fields::TIME, origin.time.and_then(|t| t.duration_since(UNIX_EPOCH).ok()).and_then(millis)),
            (fields::ATTEMPTS, Some(i64::from(origin.delivery_count))),
        ];
        for (name, number) in numbers {
            if let Some(number) = number {
                set(name, number.to_string());
            }
        }
        if let Some(id) = &origin.id {
            set(fields::ID, id.to_string());
        }
    }
    set(fields::ERROR_TYPE, error_type.to_owned());
    if let Some(reason) = reason {
        set(fields::REASON, shorten(reason.to_string()));
    }
    match (kept.is_empty(), creation) {
        (false, _) => headers.extend(kept),
        (true, Some(context)) => {
            set(fields::TRACEPARENT, codec::traceparent(&context));
            let state = context.trace_state().header();
            if !state.is_empty() {
                set(fields::TRACESTATE, state);
            }
        }
        (true, None) => {}
    }
    letter
}

fn millis(since: Duration) -> Option<i64> {
    i64::try_from(since.as_millis()).ok()
}

fn shorten(mut text: String) -> String {
    let end = (0..=LONGEST_REASON.min(text.len())).rev().find(|&at| text.is_char_boundary(at));
    text.truncate(end.unwrap_or(0));
    text
}
