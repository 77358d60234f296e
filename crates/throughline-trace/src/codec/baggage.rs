//! `baggage`: W3C Baggage, section 3.

use opentelemetry::{
    StringValue,
    baggage::{Baggage, KeyValueMetadata},
};
use std::borrow::Cow;

/// The specification's bounds; members beyond them are left out whole.
const MAX_MEMBERS: usize = 64;
pub(crate) const MAX_BYTES: usize = 8192;

/// The well-formed members of a value, as far as the limits go; `None` if there is none.
pub(crate) fn parse(raw: &[u8]) -> Option<Baggage> {
    let text = std::str::from_utf8(whole_members(raw)).ok()?;
    let members = text.split(',').filter_map(member).take(MAX_MEMBERS);
    let baggage: Baggage = members.collect();
    (!baggage.is_empty()).then_some(baggage)
}

/// The text for these members, as far as the limits go; `None` if there is none.
pub(crate) fn format(baggage: &Baggage) -> Option<String> {
    let mut text = String::new();
    let mut count = 0;
    for (key, (value, metadata)) in baggage {
        let before = text.len();
        if count > 0 {
            text.push(',');
        }
        text.push_str(key.as_str());
        text.push('=');
        encode(value.as_str(), &mut text);
        let properties = metadata.as_str();
        if !properties.is_empty() && properties.bytes().all(|b| (0x20..=0x7e).contains(&b) && b != b',') {
            text.push(';');
            text.push_str(properties);
        }
        if text.len() > MAX_BYTES {
            text.truncate(before);
        } else {
            count += 1;
        }
        if count == MAX_MEMBERS {
            break;
        }
    }
    (count > 0).then_some(text)
}

/// No more than the limit, cut between two members.
fn whole_members(raw: &[u8]) -> &[u8] {
    if raw.len() <= MAX_BYTES {
        return raw;
    }
    let end = raw[..=MAX_BYTES].iter().rposition(|&b| b == b',').unwrap_or(0);
    &raw[..end]
}

fn member(member: &str) -> Option<KeyValueMetadata> {
    let (pair, properties) = member.split_once(';').unwrap_or((member, ""));
    let (key, value) = pair.split_once('=')?;
    let (key, value) = (key.trim_matches([' ', '\t']), value.trim_matches([' ', '\t']));
    let properties_fit = properties.bytes().all(|b| b == b'\t' || (0x20..=0x7e).contains(&b));
    if key.is_empty() || !key.bytes().all(is_token) || !value.bytes().all(is_octet) || !properties_fit {
        return None;
    }
    let value = decode(value)?.into_owned();
    Some(KeyValueMetadata::new(key.to_owned(), StringValue::from(value), properties))
}

/// RFC 7230, section 3.2.6.
fn is_token(b: u8) -> bool {
    const TABLE: [bool; 256] = table(b"\"(),/:;<=>?@[\\]{}");
    TABLE[usize::from(b)]
}

/// `baggage-octet`: printable, and none of space, `"`, `,`, `;` and `\`.
fn is_octet(b: u8) -> bool {
    const TABLE: [bool; 256] = table(b"\",;\\");
    TABLE[usize::from(b)]
}

/// The printable characters but these and the space.
const fn table(without: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut b = 0x21;
    while b <= 0x7e {
        table[b] = true;
        b += 1;
    }
    let mut at = 0;
    while at < without.len() {
        table[without[at] as usize] = false;
        at += 1;
    }
    table
}

/// `None` for a `%` that is not followed by two hex digits. Octets that are not UTF-8 become U+FFFD.
fn decode(value: &str) -> Option<Cow<'_, str>> {
    if !value.contains('%') {
        return Some(Cow::Borrowed(value));
    }
    let mut octets = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(b) = rest.next() {
        if b != b'%' {
            octets.push(b);
            continue;
        }
        let high = char::from(rest.next()?).to_digit(16)?;
        let low = char::from(rest.next()?).to_digit(16)?;
        octets.push((high * 16 + low) as u8);
    }
    Some(Cow::Owned(match String::from_utf8(octets) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    }))
}

fn encode(value: &str, text: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for b in value.bytes() {
        if is_octet(b) && b != b'%' {
            text.push(char::from(b));
        } else {
            text.push('%');
            text.push(char::from(DIGITS[usize::from(b >> 4)]));
            text.push(char::from(DIGITS[usize::from(b & 15)]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn read(raw: &[u8]) -> BTreeMap<String, String> {
        let found = parse(raw).unwrap_or_default();
        found.iter().map(|(k, (v, _))| (k.to_string(), v.to_string())).collect()
    }

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
    }

    #[test]
    fn the_vectors_of_the_specification() {
        assert_eq!(read(b"key1=value1,key2=value2"), map(&[("key1", "value1"), ("key2", "value2")]));
        assert_eq!(read(b" k \t=\t v ;p=1;q , x=%20%C3%A4,y="), map(&[("k", "v"), ("x", " ä"), ("y", "")]));
        assert_eq!(read(b"a=%ff"), map(&[("a", "\u{fffd}")]));
        assert_eq!(read(b"a=%zz,b=%4,c=1,=2,d,(e)=1,f=\xc3\xa4"), map(&[("c", "1")]));
        assert_eq!(read(b"a=\xff"), map(&[]));
        assert_eq!(read(b""), map(&[]));
        let kept = parse(b"k=v; p = 1 ;q").unwrap();
        assert_eq!(kept.get_with_metadata("k").unwrap().1.as_str(), "p = 1 ;q");
    }

    #[test]
    fn the_tables_are_those_of_the_grammars() {
        for b in 0..=255_u8 {
            let token = b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
            assert_eq!(is_token(b), token, "{b:#x}");
            let octet = matches!(b, 0x21 | 0x23..=0x2b | 0x2d..=0x3a | 0x3c..=0x5b | 0x5d..=0x7e);
            assert_eq!(is_octet(b), octet, "{b:#x}");
        }
    }

    #[test]
    fn limits_leave_out_whole_members() {
        let many = (0..100).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
        assert_eq!(read(many.as_bytes()).len(), MAX_MEMBERS);
        let large = format!("a={},b={},c=1", "x".repeat(4000), "y".repeat(4300));
        assert_eq!(read(large.as_bytes()).into_keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!(read(format!("a={}", "x".repeat(1 << 20)).as_bytes()), map(&[]));
        // What is within the limit in memory may be beyond it once encoded.
        let mut baggage = Baggage::new();
        baggage.insert("a", "ä".repeat(2000));
        baggage.insert("b", "1");
        assert_eq!(format(&baggage).as_deref(), Some("b=1"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn what_was_written_is_read_again(
            pairs in proptest::collection::btree_map("[a-zA-Z0-9!#$&*+.^_|~-]{1,10}", ".{0,20}", 0..20)
        ) {
            let mut baggage = Baggage::new();
            for (key, value) in &pairs {
                baggage.insert(key.clone(), value.clone());
            }
            let text = format(&baggage).unwrap_or_default();
            prop_assert_eq!(read(text.as_bytes()), pairs);
        }

        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            parse(&bytes);
        }
    }
}
