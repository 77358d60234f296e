//! Sending on what was received.

use crate::{Propagation, Trail};
use opentelemetry::trace::SpanContext;
use throughline_core::{ContextBeside, Headers, Message};

/// Left in the extensions of a message that is sent on.
#[derive(Clone, Debug)]
pub(crate) struct Forwarded {
    /// The context that it came with.
    pub(crate) from: Option<SpanContext>,
    /// What its headers said where another place counted before them.
    pub(crate) overruled: Option<SpanContext>,
    /// Whether that context stays in it.
    pub(crate) keep: bool,
}

/// A copy to send on: payload, key and headers of `message`, nothing of where it came from.
///
/// [`MirrorLayer`](crate::MirrorLayer) replaces the propagation fields that came along by those of its send span, and
/// links that span to where the message came from.
///
/// ```
/// use throughline_core::Message;
///
/// let received = Message::new("body").with_key("k").with_header("h", "v");
/// let copy = throughline_trace::forward(&received);
/// assert_eq!(copy.headers(), received.headers());
/// assert!(copy.origin().is_none());
/// ```
pub fn forward(message: &Message) -> Message {
    copy(message, false)
}

/// A copy to put aside, as a dead letter: like [`forward`], but the context that the message came with **stays** in
/// it, so that whoever replays it continues the original trace.
///
/// The send span is then a CLIENT that links to that context and to the message's process span. A message that came
/// without a context gets the send span's.
pub fn set_aside(message: &Message) -> Message {
    copy(message, true)
}

fn copy(message: &Message, keep: bool) -> Message {
    let mut copy = match message.payload_opt() {
        Some(payload) => Message::new(payload.clone()),
        None => Message::tombstone(),
    };
    if let Some(key) = message.key() {
        copy = copy.with_key(key.clone());
    }
    let headers: &mut Headers = copy.headers_mut();
    headers.clone_from(message.headers());
    let propagation = Propagation::installed();
    let extract = |fields: &Headers| propagation.extract(fields).and_then(|found| found.context);
    let first = message.extensions().get::<ContextBeside>().filter(|beside| beside.first);
    let plain = || extract(message.headers());
    let from = match message.extensions().get::<Trail>() {
        Some(trail) => trail.creation_context().cloned(),
        None => first.and_then(|beside| extract(&beside.fields)).or_else(plain),
    };
    let overruled = first.and_then(|_| plain());
    let extensions = copy.extensions_mut();
    extensions.clone_from(message.extensions());
    extensions.insert(Forwarded { from, overruled, keep });
    copy
}
