//! A message as the client's, within the limits of Pub/Sub: <https://cloud.google.com/pubsub/quotas#resource_limits>.
//!
//! The emulator checks none of them, the service refuses the whole batch, so they are checked here. A trace context must
//! never be what makes a send fail: `baggage` goes first where there is no room, then `tracestate`, then the copy of
//! `traceparent` for Google's clients. Only what the user set can be too much.

use crate::dead_letter;
use bytes::Bytes;
use google_cloud_pubsub::model::Message as Native;
use std::collections::HashMap;
use throughline_core::{Error, ErrorKind, Headers, Message};

/// Attributes of one message.
pub(crate) const MOST_ATTRIBUTES: usize = 100;
/// Bytes of an attribute's name.
const LONGEST_NAME: usize = 256;
/// Bytes of an attribute's value.
pub(crate) const LONGEST_VALUE: usize = 1_024;
/// Bytes of an ordering key.
const LONGEST_KEY: usize = 1_024;
/// Bytes of a publish request, topic and all: a message that fills one goes alone.
const MOST_BYTES: usize = 10_000_000;
/// No attribute of the user's may begin with this; Google's own do.
const RESERVED: &str = "goog";
/// The prefix of the names by which Google's clients know a context, and of what they note beside it.
pub(crate) const GOOGLE: &str = "googclient_";
/// The fields of a context, the one that is given up last in front, with the name that Google's clients know it by.
pub(crate) const CONTEXT: [(&str, Option<&str>); 3] = [
    ("traceparent", Some("googclient_traceparent")),
    ("tracestate", Some("googclient_tracestate")),
    ("baggage", None),
];

/// A `traceparent` has so many bytes at least (W3C Trace Context, 3.2).
const SHORTEST: usize = 55;

pub(crate) type Attributes = HashMap<String, String>;

/// A message to send to this topic, given by its full name, and its size as a request. `google`: with copies of the
/// context that Google's clients read.
///
/// # Errors
/// `Unrepresentable` for what no attribute or ordering key can say, `TooLarge` with the sizes. None is worth another try.
pub(crate) fn encode(message: &Message, topic: &str, google: bool) -> Result<(Native, usize), Error> {
    let Some(payload) = message.payload_opt() else {
        let remedy = "there is no payload, which Pub/Sub cannot tell from an empty one: send bytes";
        return Err(unrepresentable(topic, remedy.to_owned()));
    };
    let key = ordering_key(message, topic)?;
    let mut attributes = own_attributes(message.headers(), topic)?;
    if payload.is_empty() && attributes.is_empty() {
        let remedy = "the payload is empty, which Pub/Sub takes only with an attribute: add a header";
        return Err(unrepresentable(topic, remedy.to_owned()));
    }
    dead_letter::write(message.headers(), &mut attributes, topic);
    let request = field(topic.len()) + field(size_of(payload.len(), &attributes, key.len()));
    let Some(room) = MOST_BYTES.checked_sub(request) else {
        let remedy = format!(
            "{request} bytes as a request ({} of payload) where Pub/Sub takes {MOST_BYTES}: send less, or a reference to it",
            payload.len()
        );
        return Err(Error::new(ErrorKind::TooLarge, topic, remedy));
    };
    write_context(message.headers(), &mut attributes, google, room);
    let size = size_of(payload.len(), &attributes, key.len());
    let mut native = Native::new().set_data(payload.clone()).set_ordering_key(key);
    native.attributes = attributes;
    Ok((native, size))
}

/// The message's key, which is the ordering key; empty for none.
fn ordering_key(message: &Message, topic: &str) -> Result<String, Error> {
    let Some(key) = message.key() else { return Ok(String::new()) };
    if key.is_empty() {
        let remedy = "the key is empty, which on Pub/Sub is no key: leave it out";
        return Err(unrepresentable(topic, remedy.to_owned()));
    }
    if key.len() > LONGEST_KEY {
        let remedy =
            format!("the key has {} bytes, and an ordering key at most {LONGEST_KEY}: shorten it", key.len());
        return Err(Error::new(ErrorKind::TooLarge, topic, remedy));
    }
    String::from_utf8(key.to_vec()).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        unrepresentable(
            topic,
            format!("the key is no text at byte {at}, and an ordering key has to be: encode it"),
        )
    })
}

/// What the user set. What Google's clients noted on a message that is sent on is none of that, and would be stale.
fn own_attributes(headers: &Headers, topic: &str) -> Result<Attributes, Error> {
    let mut attributes = Attributes::with_capacity(headers.len() + CONTEXT.len());
    for header in headers.iter() {
        let name = &*header.name;
        if is_context(name) || header.dead_letter_field().is_some() {
            continue;
        }
        let refused = |what: &str| Err(unrepresentable(topic, format!("header {name:?} {what}")));
        if name.is_empty() {
            return refused("has no name, and an attribute needs one: name it");
        }
        if name.starts_with(RESERVED) {
            return refused("begins with `goog`, which Pub/Sub keeps for Google: rename it");
        }
        let Some(value) = &header.value else {
            return refused("is null, and an attribute is text: leave it out");
        };
        for (what, length, most) in
            [("name", name.len(), LONGEST_NAME), ("value", value.len(), LONGEST_VALUE)]
        {
            if length > most {
                let remedy = format!(
                    "the {what} of header {name:?} has {length} bytes where Pub/Sub takes {most}: shorten it, or put it \
                     into the payload"
                );
                return Err(Error::new(ErrorKind::TooLarge, topic, remedy));
            }
        }
        let Ok(text) = std::str::from_utf8(value) else {
            return refused("is not UTF-8, and an attribute has to be: encode it");
        };
        if attributes.insert(name.to_owned(), text.to_owned()).is_some() {
            return refused("is there twice, and Pub/Sub takes one attribute of a name: join them");
        }
    }
    if attributes.len() > MOST_ATTRIBUTES {
        let remedy = format!(
            "{} headers where Pub/Sub takes {MOST_ATTRIBUTES} attributes: leave some out, or put them into the payload",
            attributes.len()
        );
        return Err(Error::new(ErrorKind::TooLarge, topic, remedy));
    }
    Ok(attributes)
}

/// Adds what fits of the context into this many bytes of the request.
fn write_context(headers: &Headers, attributes: &mut Attributes, google: bool, mut room: usize) {
    let last = |name: &str| {
        let mut found = headers.iter().rev().filter(|header| header.name.eq_ignore_ascii_case(name));
        found.find_map(|header| Some((&*header.name, text_of(header.value.as_ref()?)?)))
    };
    // What is no context of ours is sent as it is, and as nothing else.
    let is_context = |(name, value): (&str, &str)| name == CONTEXT[0].0 && value.len() >= SHORTEST;
    let google = google && last(CONTEXT[0].0).is_some_and(is_context);
    for (name, copy) in CONTEXT {
        let Some((written, value)) = last(name) else { continue };
        for name in [Some(written), copy.filter(|_| google)].into_iter().flatten() {
            // The lengths around it may grow by some bytes too.
            let more = entry(name.len(), value.len()) + 8;
            if attributes.len() >= MOST_ATTRIBUTES || more > room {
                // The rest means nothing without what is left out.
                return;
            }
            room -= more;
            attributes.insert(name.to_owned(), value.to_owned());
        }
    }
}

/// What a field of a context may be written as.
pub(crate) fn text_of(value: &Bytes) -> Option<&str> {
    std::str::from_utf8(value).ok().filter(|text| !text.is_empty() && text.len() <= LONGEST_VALUE)
}

fn is_context(name: &str) -> bool {
    name.starts_with(GOOGLE) || CONTEXT.iter().any(|(field, _)| field.eq_ignore_ascii_case(name))
}

/// The bytes of a field of the protocol that has this length: a tag, the length, and what it is of.
const fn field(length: usize) -> usize {
    let bits = usize::BITS - (length | 1).leading_zeros();
    1 + bits.div_ceil(7) as usize + length
}

/// An attribute.
const fn entry(name: usize, value: usize) -> usize {
    field(field(name) + field(value))
}

/// A message.
fn size_of(payload: usize, attributes: &Attributes, key: usize) -> usize {
    let entries: usize = attributes.iter().map(|(name, value)| entry(name.len(), value.len())).sum();
    field(payload) + entries + if key > 0 { field(key) } else { 0 }
}

fn unrepresentable(topic: &str, remedy: String) -> Error {
    Error::new(ErrorKind::Unrepresentable, topic, remedy)
}

#[cfg(test)]
mod tests;
