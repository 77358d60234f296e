//! A message as an entry of `SendMessageBatch`, within the limits of SQS.
//!
//! Ten attributes at most, and the context must never be what makes a send fail. What goes first when there is no room: other
//! formats than W3C's, then `baggage`, then `tracestate`; the last that is left, `traceparent`, goes into the system attribute
//! `AWSTraceHeader`, which counts neither as an attribute nor in the size. Only what the user set can be too much.

use crate::{
    AttributeTypes, DeduplicationId, Delay, SqsMetadata,
    envelope::{XRAY_FIELD, to_xray},
    headers::{DEAD_LETTER, KEY, pack},
    text,
};
use aws_sdk_sqs::{
    primitives::Blob,
    types::{
        MessageAttributeValue, MessageSystemAttributeNameForSends as System, MessageSystemAttributeValue,
        SendMessageBatchRequestEntry,
    },
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use std::{collections::HashMap, time::Duration};
use throughline_core::{Error, ErrorKind, Message};

/// Attributes of one message.
pub(crate) const MOST_ATTRIBUTES: usize = 10;
/// Bytes of one message, and of one batch: body, and names, types and values of attributes.
pub(crate) const MOST_BYTES: usize = 1_048_576;
/// The longest delay of one message.
const LONGEST_DELAY: Duration = Duration::from_secs(900);
/// The fields of a context, the one that is given up last in front; those at the end are of other formats (B3, Jaeger), which
/// a propagator that was plugged in may have written.
const CONTEXT: [&str; 10] = [
    "traceparent",
    "tracestate",
    "baggage",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-sampled",
    "x-b3-parentspanid",
    "x-b3-flags",
    "uber-trace-id",
];

/// How a sink writes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Style {
    pub(crate) fifo: bool,
    pub(crate) base64: bool,
    pub(crate) content_deduplication: bool,
}

/// What is sent, but for its place in a batch.
#[derive(Debug)]
pub(crate) struct Encoded {
    body: String,
    attributes: Attributes,
    trace_header: Option<String>,
    group: Option<String>,
    deduplication: Option<String>,
    delay: Option<i32>,
}

type Attributes = HashMap<String, MessageAttributeValue>;

/// What is checked here would be refused by SQS, some of it with the whole batch.
///
/// # Errors
/// `Unrepresentable` for what no attribute or body can say, `TooLarge` with the sizes, `Unsupported` for a delay on a FIFO
/// queue, `Config` for one over 15 minutes. None of them is worth another try.
pub(crate) fn encode(message: &Message, queue: &str, style: Style) -> Result<Encoded, Error> {
    let body = body(message, queue, style.base64)?;
    let extensions = message.extensions();
    let types = extensions.get::<AttributeTypes>();
    let mut attributes = own_attributes(message, queue, style.fifo, types)?;
    if let Some(packed) = pack(message.headers()) {
        // As it came, nobody can make it smaller: what is ours gives way, or it would fail for ever.
        let more = DEAD_LETTER.len() + STRING.len() + packed.len();
        let size = body.len() + attributes.iter().map(size_of).sum::<usize>();
        if attributes.len() < MOST_ATTRIBUTES && size + more <= MOST_BYTES {
            attributes.insert(DEAD_LETTER.to_owned(), attribute(queue, DEAD_LETTER, packed.into(), None)?);
        } else {
            tracing::warn!(
                queue,
                "a dead letter is as large as SQS takes them, or has ten attributes: why it failed is not written to it"
            );
        }
    }
    let trace_header = context(message, &mut attributes, body.len());
    let size = body.len() + attributes.iter().map(size_of).sum::<usize>();
    if size > MOST_BYTES {
        let remedy = format!(
            "{size} bytes ({} of body, {} of attributes) where SQS takes {MOST_BYTES}: send less, or a reference to it",
            body.len(),
            size - body.len()
        );
        return Err(Error::new(ErrorKind::TooLarge, queue, remedy));
    }
    let (group, deduplication) = if style.fifo { order(message, queue, style)? } else { (None, None) };
    let delay = extensions.get::<Delay>().map(|delay| seconds(delay.0, queue, style.fifo)).transpose()?;
    Ok(Encoded { body, attributes, trace_header, group, deduplication, delay })
}

impl Encoded {
    /// Bytes that count against the limits.
    pub(crate) fn size(&self) -> usize {
        self.body.len() + self.attributes.iter().map(size_of).sum::<usize>()
    }

    /// At this place of a batch; `None` cannot be.
    pub(crate) fn entry(self, place: usize) -> Option<SendMessageBatchRequestEntry> {
        let header = |text: String| {
            let value = MessageSystemAttributeValue::builder().data_type("String").string_value(text).build();
            value.ok().map(|value| HashMap::from([(System::AwsTraceHeader, value)]))
        };
        let attributes = (!self.attributes.is_empty()).then_some(self.attributes);
        SendMessageBatchRequestEntry::builder()
            .id(place.to_string())
            .message_body(self.body)
            .set_message_attributes(attributes)
            .set_message_system_attributes(self.trace_header.and_then(header))
            .set_message_group_id(self.group)
            .set_message_deduplication_id(self.deduplication)
            .set_delay_seconds(self.delay)
            .build()
            .ok()
    }
}

fn body(message: &Message, queue: &str, base64: bool) -> Result<String, Error> {
    let payload = message.payload();
    if payload.is_empty() {
        let what = if message.is_tombstone() { "there is no payload" } else { "the payload is empty" };
        return Err(unrepresentable(queue, format!("{what}, and SQS takes no empty body")));
    }
    if base64 {
        return Ok(STANDARD.encode(payload));
    }
    if let Some(at) = text::first_bad(payload) {
        let byte = payload.get(at).copied().unwrap_or_default();
        let remedy = format!(
            "byte {byte:#04x} at offset {at} of the payload is not of a character that SQS takes; use `.base64(true)` on \
             sink and subscription"
        );
        return Err(unrepresentable(queue, remedy));
    }
    String::from_utf8(payload.to_vec())
        .map_err(|_| unrepresentable(queue, "the payload is not text".to_owned()))
}

/// What the user set, and the key where no group carries it.
fn own_attributes(
    message: &Message,
    queue: &str,
    fifo: bool,
    types: Option<&AttributeTypes>,
) -> Result<Attributes, Error> {
    let mut attributes = Attributes::new();
    for header in message.headers().iter() {
        let name = &*header.name;
        if is_context(name) || header.dead_letter_field().is_some() {
            continue;
        }
        if !text::is_name(name) {
            let remedy = format!("SQS takes no attribute of the name {name:?}; rename the header");
            return Err(unrepresentable(queue, remedy));
        }
        let data_type = types.and_then(|types| types.get(name)).map(|data_type| &**data_type);
        if let Some(data_type) = data_type.filter(|data_type| !text::is_type(data_type)) {
            let remedy = format!(
                "header {name:?} has the type {data_type:?}, and SQS knows `String`, `Number` and `Binary`, each with a label \
                 after a dot at most"
            );
            return Err(unrepresentable(queue, remedy));
        }
        let value = header.value.clone().unwrap_or_default();
        if attributes.insert(name.to_owned(), attribute(queue, name, value, data_type)?).is_some() {
            let remedy = format!("SQS takes one attribute of a name, and header {name:?} is there twice");
            return Err(unrepresentable(queue, remedy));
        }
    }
    // The group of a dead letter that comes from a FIFO queue may find no room here.
    let fits = attributes.len() < MOST_ATTRIBUTES || pack(message.headers()).is_none();
    if let Some(key) = message.key().filter(|_| !fifo && fits) {
        attributes.insert(KEY.to_owned(), attribute(queue, KEY, key.clone(), None)?);
    }
    if attributes.len() > MOST_ATTRIBUTES {
        let remedy = format!(
            "{} attributes (headers, and the key) where SQS takes {MOST_ATTRIBUTES}: leave some out, or put them into the payload",
            attributes.len()
        );
        return Err(Error::new(ErrorKind::TooLarge, queue, remedy));
    }
    Ok(attributes)
}

fn attribute(
    queue: &str,
    name: &str,
    value: Bytes,
    data_type: Option<&str>,
) -> Result<MessageAttributeValue, Error> {
    if value.is_empty() {
        let remedy = format!("header {name:?} is null or empty, and SQS takes no empty value; leave it out");
        return Err(unrepresentable(queue, remedy));
    }
    let data_type = data_type.unwrap_or_else(|| text::type_of(&value));
    let attribute = MessageAttributeValue::builder().data_type(data_type);
    let attribute = if data_type.split('.').next() == Some("Binary") {
        attribute.binary_value(Blob::new(value))
    } else if let Some(at) = text::first_bad(&value) {
        let remedy =
            format!("header {name:?} is a {data_type} with a character that SQS refuses at offset {at}");
        return Err(unrepresentable(queue, remedy));
    } else {
        attribute.string_value(String::from_utf8_lossy(&value))
    };
    attribute.build().map_err(|error| unrepresentable(queue, format!("header {name:?}")).with_source(error))
}

/// Adds what fits of the context; gives the header for what does not.
fn context(message: &Message, attributes: &mut Attributes, body: usize) -> Option<String> {
    let last = |name: &str| {
        let mut found =
            message.headers().iter().rev().filter(|header| header.name.eq_ignore_ascii_case(name));
        found.find_map(|header| {
            Some((&header.name, header.value.as_ref().filter(|value| text::is_text(value))?))
        })
    };
    let mut size = body + attributes.iter().map(size_of).sum::<usize>();
    let mut trace_header = last(XRAY_FIELD).map(|(_, value)| String::from_utf8_lossy(value).into_owned());
    for name in CONTEXT {
        let Some((written, value)) = last(name) else { continue };
        let more = name.len() + STRING.len() + value.len();
        if attributes.len() < MOST_ATTRIBUTES && size + more <= MOST_BYTES {
            let text = String::from_utf8_lossy(value);
            let Ok(attribute) = MessageAttributeValue::builder().data_type(STRING).string_value(text).build()
            else {
                continue;
            };
            size += more;
            attributes.insert(written.to_string(), attribute);
        } else {
            if name == CONTEXT[0] {
                trace_header = to_xray(value).or(trace_header);
            }
            // The rest means nothing without what is left out.
            break;
        }
    }
    trace_header
}

const STRING: &str = "String";

fn is_context(name: &str) -> bool {
    CONTEXT.iter().chain([&XRAY_FIELD]).any(|field| field.eq_ignore_ascii_case(name))
}

/// Group and deduplication id.
fn order(message: &Message, queue: &str, style: Style) -> Result<(Option<String>, Option<String>), Error> {
    let group = message.key().ok_or_else(|| {
        unrepresentable(queue, "a FIFO queue wants a group: give the message a key".to_owned())
    })?;
    let id = |what: &str, bytes: &[u8]| match String::from_utf8(bytes.to_vec()) {
        Ok(text) if text::is_id(bytes) => Ok(text),
        _ => {
            let remedy = format!("the {what} has to be 1 to 128 letters, digits or punctuation of ASCII");
            Err(unrepresentable(queue, remedy))
        }
    };
    let extensions = message.extensions();
    let deduplication = match (extensions.get::<DeduplicationId>(), extensions.get::<SqsMetadata>()) {
        (Some(DeduplicationId(own)), _) => Some(id("deduplication id", own.as_bytes())?),
        _ if style.content_deduplication => None,
        // What is forwarded twice, because the first answer was lost, is one message.
        (None, Some(metadata)) if text::is_id(metadata.message_id.as_bytes()) => {
            Some(metadata.message_id.to_string())
        }
        (None, _) => Some(format!("{:032x}", fastrand::u128(..))),
    };
    Ok((Some(id("key, which is the group,", group)?), deduplication))
}

fn seconds(delay: Duration, queue: &str, fifo: bool) -> Result<i32, Error> {
    if fifo {
        let remedy =
            "a FIFO queue delays all its messages alike (`DelaySeconds` of the queue); leave the delay out";
        return Err(Error::new(ErrorKind::Unsupported, queue, remedy));
    }
    if delay > LONGEST_DELAY {
        return Err(Error::new(ErrorKind::Config, queue, "SQS delays a message by 15 minutes at most"));
    }
    let up = u64::from(delay.subsec_nanos() > 0);
    Ok(i32::try_from(delay.as_secs() + up).unwrap_or(i32::MAX))
}

fn size_of((name, value): (&String, &MessageAttributeValue)) -> usize {
    let text = value.string_value.as_ref().map_or(0, String::len);
    let binary = value.binary_value.as_ref().map_or(0, |binary| binary.as_ref().len());
    name.len() + value.data_type.len() + text + binary
}

fn unrepresentable(queue: &str, remedy: String) -> Error {
    Error::new(ErrorKind::Unrepresentable, queue, remedy)
}

#[cfg(test)]
mod tests;
