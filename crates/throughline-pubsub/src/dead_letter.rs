//! What is written to a dead letter, among a hundred attributes.
//!
//! Each field is an attribute where there is room for all, and for a context. Where the message has so many of its own
//! that there is not, they are one: a message that cannot be put aside would block its place for ever.

use crate::encode::{Attributes, LONGEST_VALUE, MOST_ATTRIBUTES};
use std::collections::BTreeMap;
use throughline_core::{Header, Headers};

/// The attribute that has all of them where there is no room for each.
pub(crate) const PACKED: &str = "throughline-dead-letter";
/// Attributes that are left to a context: `traceparent`, and its copy.
const CONTEXT: usize = 2;
/// What can be done without, then what can be shortened.
const LAST: [&str; 2] = ["tracestate", "reason"];

/// Adds the fields that are among the headers.
pub(crate) fn write(headers: &Headers, attributes: &mut Attributes, topic: &str) {
    let field = |header: &Header| {
        let name = header.dead_letter_field()?.to_owned();
        Some((name, shortened(&String::from_utf8_lossy(header.value.as_ref()?), LONGEST_VALUE).to_owned()))
    };
    let fields: BTreeMap<String, String> = headers.iter().filter_map(field).collect();
    if fields.is_empty() {
        return;
    }
    if attributes.len() + fields.len() + CONTEXT <= MOST_ATTRIBUTES {
        attributes.extend(
            fields.into_iter().map(|(name, value)| (format!("{}{name}", Header::DEAD_LETTER), value)),
        );
    } else if attributes.len() < MOST_ATTRIBUTES
        && let Some(packed) = pack(fields)
    {
        attributes.insert(PACKED.to_owned(), packed);
    } else {
        tracing::warn!(
            topic,
            "a dead letter has a hundred attributes of its own: why it failed is not written to it"
        );
    }
}

/// All in one value, the less important ones shortened until it is short enough.
fn pack(mut fields: BTreeMap<String, String>) -> Option<String> {
    loop {
        let packed = serde_json::to_string(&fields).ok()?;
        if packed.len() <= LONGEST_VALUE {
            return Some(packed);
        }
        let name = LAST.into_iter().find(|name| fields.get(*name).is_some_and(|value| !value.is_empty()))?;
        let value = fields.get_mut(name)?;
        // A byte of it takes one to six there, so this may take several turns.
        let over = (packed.len() - LONGEST_VALUE).div_ceil(6);
        *value = shortened(value, value.len().saturating_sub(over)).to_owned();
        if name == LAST[0] {
            // A part of it would say something else.
            value.clear();
        }
        if value.is_empty() {
            fields.remove(name);
        }
    }
}

/// What [`write()`] packed, as the headers that it was.
pub(crate) fn unpack(packed: &str) -> Option<Vec<Header>> {
    let fields = serde_json::from_str::<BTreeMap<String, String>>(packed).ok()?;
    let header = |(name, value): (String, String)| Header {
        name: format!("{}{name}", Header::DEAD_LETTER).into(),
        value: Some(value.into()),
    };
    Some(fields.into_iter().map(header).collect())
}

fn shortened(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|&at| text.is_char_boundary(at));
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn headers(reason: &str, state: &str) -> Headers {
        let mut headers = Headers::new();
        for (name, value) in
            [("id", "4711"), ("reason", reason), ("tracestate", state), ("time", "1700000000123")]
        {
            headers
                .append(format!("{}{name}", Header::DEAD_LETTER), Bytes::copy_from_slice(value.as_bytes()));
        }
        headers
    }

    fn full(count: usize) -> Attributes {
        (0..count).map(|n| (n.to_string(), "v".to_owned())).collect()
    }

    #[test]
    fn each_field_is_an_attribute_where_there_is_room() {
        let mut attributes = full(94);
        write(&headers("odd", "a=1"), &mut attributes, "t");
        assert_eq!((attributes.len(), &*attributes["throughline-dead-letter-reason"]), (98, "odd"));
    }

    #[test]
    fn where_there_is_none_they_are_one_and_come_back_as_they_were() {
        let mut attributes = full(99);
        write(&headers("odd", "a=1"), &mut attributes, "t");
        assert_eq!(attributes.len(), 100);
        let unpacked = unpack(&attributes[PACKED]).unwrap();
        let value = |name: &str| {
            let found =
                unpacked.iter().find(|header| header.name == format!("{}{name}", Header::DEAD_LETTER));
            found.and_then(|header| header.value.clone()).unwrap_or_default()
        };
        assert_eq!([value("id"), value("reason"), value("tracestate")], ["4711", "odd", "a=1"]);
        let mut attributes = full(100);
        write(&headers("odd", "a=1"), &mut attributes, "t");
        assert_eq!(attributes.len(), 100, "never more than the message can have");
    }

    #[test]
    fn what_is_packed_is_short_enough_whatever_the_reason_is() {
        for reason in ["é\"\n".repeat(341), "\u{1}".repeat(1024), "x".repeat(1024)] {
            let mut attributes = full(99);
            write(&headers(&reason, &"b=2,".repeat(200)), &mut attributes, "t");
            let packed = &attributes[PACKED];
            assert!(packed.len() <= LONGEST_VALUE && packed.contains("4711"), "{packed}");
            assert!(packed.contains("reason") && !packed.contains("tracestate"), "{packed}");
        }
    }
}
