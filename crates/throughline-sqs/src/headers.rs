//! Messages of SQS as ours: attributes are headers, and what is around the body is looked into.

use crate::{
    AttributeTypes, SqsMetadata,
    envelope::{self, Wrapped},
    subscription::Settings,
    text,
};
use aws_sdk_sqs::types::{Message as Native, MessageAttributeValue, MessageSystemAttributeName as System};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, SystemTime},
};
use throughline_core::{ByteString, Destination, Header, Headers, Message, Origin};

/// The attribute that carries a message's key where there are no groups.
pub(crate) const KEY: &str = "throughline-key";
/// The attribute that carries what was written to a dead letter: ten attributes are too few for each to have its own.
pub(crate) const DEAD_LETTER: &str = "throughline-dead-letter";
/// Attributes of our own, beside those of a trace context.
pub(crate) const OURS: [&str; 2] = [KEY, DEAD_LETTER];

/// The end of the year 9999, in milliseconds: what is beyond it is not a time but garbage.
const LAST_MILLISECOND: u64 = 253_402_300_799_999;

/// A message, and what is needed to settle it.
pub(crate) struct Decoded {
    pub(crate) message: Message,
    pub(crate) id: ByteString,
    pub(crate) group: Option<ByteString>,
    /// The `traceparent` that it came with.
    pub(crate) context: Option<Bytes>,
}

/// Marks a message whose body is not the base64 that the subscription was told to expect: it was delivered as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotBase64;

pub(crate) fn decode(native: Native, destination: &Arc<Destination>, settings: &Settings) -> Decoded {
    let mut system = native.attributes.unwrap_or_default();
    let mut take = |name: System| system.remove(&name).map(ByteString::from);
    let id = ByteString::from(native.message_id.unwrap_or_default());
    let group = take(System::MessageGroupId);
    let mut metadata = SqsMetadata {
        message_id: id.clone(),
        deduplication_id: take(System::MessageDeduplicationId),
        sequence_number: take(System::SequenceNumber),
        first_received: take(System::ApproximateFirstReceiveTimestamp).and_then(|text| time(&text)),
        dead_letter_source: take(System::DeadLetterQueueSourceArn),
        sns: None,
    };
    let mut origin = Origin::new(destination.clone());
    origin.time = take(System::SentTimestamp).and_then(|text| time(&text));
    origin.delivery_count =
        take(System::ApproximateReceiveCount).and_then(|text| text.parse().ok()).unwrap_or(1).max(1);
    origin.id = Some(id.clone());
    let xray = take(System::AwsTraceHeader);

    let mut attributes = Attributes::of(native.message_attributes.unwrap_or_default());
    let key = attributes.key.take().or_else(|| group.clone().map(ByteString::into_bytes));
    let mut body = native.body.unwrap_or_default();
    let mut beside = None;
    if let Some(Wrapped { payload, headers, types, metadata: sns }) = envelope::sns(&body) {
        metadata.sns = Some(sns);
        if settings.unwrap_sns {
            body = payload;
            // What SQS itself says of the message wins over what is in the envelope.
            let known = attributes.headers.clone();
            let is_new = |name: &str| !known.iter().any(|header| header.name == name);
            attributes.headers.extend(headers.iter().filter(|header| is_new(&header.name)).cloned());
            attributes.types.extend(types.into_iter().filter(|(name, _)| is_new(name)));
        } else {
            beside = Some(envelope::beside(&headers, "sns"));
        }
    }
    let is_context = |fields: &Headers| fields.get("traceparent").is_some();
    let own = attributes.headers.get("traceparent").cloned();
    beside = beside.filter(|beside| own.is_none() && is_context(&beside.fields));
    if own.is_none() {
        beside = beside.or_else(|| envelope::event_bridge(&body));
    }
    // Also beside a context of the producer's own, which counts before it: not everybody reads that format.
    let beside = beside.or_else(|| xray.as_deref().and_then(envelope::xray));
    let plain = if settings.base64 { STANDARD.decode(&body).ok() } else { None };
    let not_base64 = settings.base64 && plain.is_none();
    let payload = plain.map_or_else(|| Bytes::from(body), Bytes::from);

    let context = own.or_else(|| beside.as_ref()?.fields.get("traceparent").cloned());
    let mut message = Message::received(Some(payload), key, attributes.headers, origin);
    let extensions = message.extensions_mut();
    extensions.insert(metadata);
    if !attributes.types.is_empty() {
        let set = |types: AttributeTypes, (name, data_type)| types.set(name, data_type);
        extensions.insert(attributes.types.into_iter().fold(AttributeTypes::new(), set));
    }
    if let Some(beside) = beside {
        extensions.insert(beside);
    }
    if not_base64 {
        extensions.insert(NotBase64);
    }
    Decoded { message, id, group, context }
}

/// Attributes as headers, ordered by name: SQS keeps no order.
struct Attributes {
    headers: Headers,
    types: Vec<(ByteString, ByteString)>,
    key: Option<Bytes>,
}

impl Attributes {
    fn of(native: HashMap<String, MessageAttributeValue>) -> Self {
        let mut list: Vec<_> = native.into_iter().collect();
        list.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let mut found = Attributes { headers: Headers::new(), types: Vec::new(), key: None };
        for (name, attribute) in list {
            let data_type = attribute.data_type;
            let value = match (attribute.string_value, attribute.binary_value) {
                (Some(text), _) => Bytes::from(text),
                (None, Some(binary)) => Bytes::from(binary.into_inner()),
                (None, None) => continue,
            };
            match name.as_str() {
                KEY => found.key = Some(value),
                DEAD_LETTER => found.unpack(&value),
                _ => {
                    let name = ByteString::from(name);
                    if data_type != text::type_of(&value) {
                        found.types.push((name.clone(), data_type.into()));
                    }
                    found.headers.append(name, Some(value));
                }
            }
        }
        found
    }

    /// What [`pack`] put into one attribute.
    fn unpack(&mut self, packed: &Bytes) {
        match serde_json::from_slice::<BTreeMap<String, String>>(packed) {
            Ok(fields) => self.headers.extend(fields.into_iter().map(|(name, value)| Header {
                name: format!("{}{name}", Header::DEAD_LETTER).into(),
                value: Some(value.into()),
            })),
            Err(_) => self.headers.append(ByteString::from_static(DEAD_LETTER), Some(packed.clone())),
        }
    }
}

/// The fields of a dead letter in one attribute; `None` if there are none.
pub(crate) fn pack(headers: &Headers) -> Option<String> {
    let field = |header: &Header| {
        let name = header.dead_letter_field()?.to_owned();
        Some((name, String::from_utf8_lossy(header.value.as_ref()?).into_owned()))
    };
    let fields: BTreeMap<String, String> = headers.iter().filter_map(field).collect();
    if fields.is_empty() { None } else { serde_json::to_string(&fields).ok() }
}

/// Milliseconds since 1970.
fn time(text: &str) -> Option<SystemTime> {
    let millis = text.parse().ok().filter(|millis| *millis <= LAST_MILLISECOND)?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis))
}

#[cfg(test)]
mod tests;
