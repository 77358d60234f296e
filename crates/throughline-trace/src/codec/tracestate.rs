//! `tracestate`: W3C Trace Context Level 2, section 3.3.

use opentelemetry::trace::TraceState;

/// The specification's bound of list members; a longer list counts as malformed.
const MAX_MEMBERS: usize = 32;

/// Our bound of bytes. The specification asks for at least 512.
pub(crate) const MAX_BYTES: usize = 8192;

/// The text of a well-formed list that has at least one member, not yet copied.
pub(crate) fn check(raw: &[u8]) -> Option<&str> {
    if raw.len() > MAX_BYTES {
        return None;
    }
    let text = std::str::from_utf8(raw).ok()?;
    let mut count = 0;
    for member in members(text) {
        let (key, value) = member?;
        count += 1;
        if count > MAX_MEMBERS || !is_key(key.as_bytes()) || !is_value(value.as_bytes()) {
            return None;
        }
    }
    (count > 0).then_some(text)
}

/// Bytes that [`check`] looks at: none of a value that is too long.
pub(crate) fn cost(raw: &[u8]) -> usize {
    if raw.len() > MAX_BYTES { 0 } else { raw.len() }
}

/// The list of a text that [`check`] passed.
pub(crate) fn parse(text: &str) -> TraceState {
    TraceState::from_key_value(members(text).flatten()).unwrap_or_default()
}

/// The text for a list, if it has a member.
pub(crate) fn format(state: &TraceState) -> Option<String> {
    let length: usize = state.into_iter().map(|(key, value)| key.len() + value.len() + 2).sum();
    if length == 0 {
        return None;
    }
    let mut text = String::with_capacity(length);
    for (key, value) in state {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(key);
        text.push('=');
        text.push_str(value);
    }
    Some(text)
}

/// `None` for a member without `=`. Empty members are legal and left out.
fn members(text: &str) -> impl Iterator<Item = Option<(&str, &str)>> {
    let members = text.split(',').map(|member| member.trim_matches([' ', '\t']));
    members.filter(|member| !member.is_empty()).map(|member| member.split_once('='))
}

fn is_key(key: &[u8]) -> bool {
    let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let Some((first, rest)) = key.split_first() else { return false };
    if key.len() > 256 || !alphanumeric(first) {
        return false;
    }
    if !rest.iter().all(|b| alphanumeric(b) || matches!(b, b'_' | b'-' | b'*' | b'/' | b'@')) {
        return false;
    }
    // Level 2 allows any number of `@`. The API's type holds only the multi-tenant form of Level 1, so nothing else
    // can be carried on.
    match key.iter().position(|&b| b == b'@') {
        None => true,
        Some(at) => {
            let system = &key[at + 1..];
            system.len() <= 13 && !system.contains(&b'@') && system.first().is_none_or(alphanumeric)
        }
    }
}

fn is_value(value: &[u8]) -> bool {
    let printable = |b: &u8| (0x20..=0x7e).contains(b) && *b != b'=';
    (1..=256).contains(&value.len()) && value.iter().all(printable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(raw: &[u8]) -> Option<String> {
        format(&parse(check(raw)?))
    }

    #[test]
    fn the_vectors_of_the_specification() {
        let ok = [
            ("foo=1", "foo=1"),
            ("foo=1,bar=2", "foo=1,bar=2"),
            ("foo=1 \t , \t bar=2, \t baz=3", "foo=1,bar=2,baz=3"),
            ("foo=1,,,bar=2,", "foo=1,bar=2"),
            ("fw529a3039@dt=FfIhSxAaUg", "fw529a3039@dt=FfIhSxAaUg"),
            ("0foo=1", "0foo=1"),
            ("a*/_-=b c", "a*/_-=b c"),
        ];
        for (text, want) in ok {
            assert_eq!(read(text.as_bytes()).as_deref(), Some(want), "{text}");
        }
        for text in
            ["", ",", " ", "foo", "foo=", "=1", "Foo=1", "foo =1", "foo=1=2", "foo@=1,b", "f@o@o=1", "é=1"]
        {
            assert_eq!(read(text.as_bytes()), None, "{text}");
        }
        assert_eq!(read(b"foo=\xff"), None);
        assert_eq!(read(b"foo=\x07"), None);
    }

    #[test]
    fn limits_drop_the_whole_list() {
        let list = |n: usize| (0..n).map(|i| format!("k{i}=v")).collect::<Vec<_>>().join(",");
        assert_eq!(read(list(32).as_bytes()), Some(list(32)));
        assert_eq!(read(list(33).as_bytes()), None);
        let long = |key: usize, value: usize| format!("{}={}", "k".repeat(key), "v".repeat(value));
        assert!(read(long(256, 256).as_bytes()).is_some());
        assert!(read(long(257, 1).as_bytes()).is_none());
        assert!(read(long(1, 257).as_bytes()).is_none());
        assert!(read("k=v,".repeat(MAX_BYTES).as_bytes()).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5_000))]
        #[test]
        fn what_passes_is_carried_unchanged(
            pairs in proptest::collection::vec(("[a-z0-9][a-z0-9_*/-]{0,20}", "[!-+--<>-~][ -+--<>-~]{0,20}[!-+--<>-~]"), 1..40)
        ) {
            let text = pairs.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(",");
            let want = (pairs.len() <= MAX_MEMBERS).then(|| text.clone());
            prop_assert_eq!(read(text.as_bytes()), want);
        }

        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            read(&bytes);
        }
    }
}
