//! What SQS takes as text.

use std::str::from_utf8;

/// The type of an attribute with this value where nobody says another.
pub(crate) fn type_of(value: &[u8]) -> &'static str {
    if first_bad(value).is_none() { "String" } else { "Binary" }
}

/// The first byte that is not of a character that SQS takes: those of XML 1.0, as the reference of `SendMessage` lists
/// them (`#x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF`).
pub(crate) fn first_bad(value: &[u8]) -> Option<usize> {
    let (text, rest) = match from_utf8(value) {
        Ok(text) => (text, None),
        Err(error) => {
            let (good, _) = value.split_at(error.valid_up_to());
            (from_utf8(good).unwrap_or_default(), Some(error.valid_up_to()))
        }
    };
    let bad = text.char_indices().find(|(_, c)| !is_taken(*c)).map(|(at, _)| at);
    bad.or(rest)
}

fn is_taken(c: char) -> bool {
    !matches!(c, '\0'..='\x08' | '\x0b' | '\x0c' | '\x0e'..='\x1f' | '\u{fffe}' | '\u{ffff}')
}

/// Whether this can be the value of a `String`.
pub(crate) fn is_text(value: &[u8]) -> bool {
    !value.is_empty() && first_bad(value).is_none()
}

/// Whether SQS takes this as the name of an attribute: its rules for `MessageAttributes`.
pub(crate) fn is_name(name: &str) -> bool {
    let is_taken = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let reserved =
        |prefix: &str| name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    (1..=256).contains(&name.len())
        && name.bytes().all(is_taken)
        && !name.starts_with('.')
        && !name.ends_with('.')
        && !name.contains("..")
        && !reserved("aws.")
        && !reserved("amazon.")
}

/// Whether SQS takes this as the type of an attribute; it refuses the whole batch of one with another.
pub(crate) fn is_type(data_type: &str) -> bool {
    let base = data_type.split('.').next().unwrap_or_default();
    (1..=256).contains(&data_type.len()) && matches!(base, "String" | "Number" | "Binary")
}

/// Whether SQS takes this as a group or deduplication id: 128 letters, digits and punctuation of ASCII.
pub(crate) fn is_id(id: &[u8]) -> bool {
    (1..=128).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_that_sqs_refuses_is_found() {
        for (bytes, at) in [
            (&b"\x07"[..], Some(0)),
            (b"\x00\xff", Some(0)),
            (b"ab\xff\x07", Some(2)),
            (b"ab\x07\xff", Some(2)),
            (b"\xef\xbf\xbf", Some(0)),
            (b"\xef\xbf\xbd \t\r\n", None),
            ("é\u{10ffff}".as_bytes(), None),
            (b"", None),
        ] {
            assert_eq!(first_bad(bytes), at, "{bytes:?}");
        }
        assert_eq!((type_of(b"x"), type_of(b"\xff")), ("String", "Binary"));
    }

    #[test]
    fn names_and_ids_follow_the_rules_of_aws() {
        for name in ["a", "a.b", "traceparent", "_-", "Awsome"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", ".a", "a.", "a..b", "AWS.x", "amazon.x", "é", "a b", &"a".repeat(257)] {
            assert!(!is_name(name), "{name}");
        }
        assert!(is_id(b"g-1!") && !is_id(b"") && !is_id(b"g 1") && !is_id(&[b'g'; 129]) && !is_id(b"\xff"));
    }
}
