//! Headers as brokers carry them: in order, with duplicates, values possibly null.

use bytes::Bytes;
use bytestring::ByteString;
use std::{fmt, sync::Arc};

/// One header of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The name; may be empty, and may occur more than once.
    pub name: ByteString,
    /// The value; `None` is a null value, which is not an empty one.
    pub value: Option<Bytes>,
}

impl Header {
    /// What the name of a header begins with that is written to a dead letter. An adapter whose broker has no room for
    /// them all leaves out these, and not those of the message that came.
    pub const DEAD_LETTER: &str = "throughline-dead-letter-";

    /// Which field of a dead letter this is, if it is one.
    pub fn dead_letter_field(&self) -> Option<&str> {
        self.name.strip_prefix(Self::DEAD_LETTER)
    }
}

/// The ordered list of a message's headers.
///
/// Duplicates, nulls, empty names and values that are not UTF-8 are kept as they came. Cloning costs a few reference
/// counts: the first header is held inline, so that injecting a trace context into an empty list allocates nothing
/// but the value, and the rest is copied on write.
#[derive(Clone, Default)]
pub struct Headers {
    /// `None` only if `rest` is empty too.
    first: Option<Header>,
    rest: Option<Arc<Vec<Header>>>,
}

impl Headers {
    /// An empty list.
    pub const fn new() -> Self {
        Headers { first: None, rest: None }
    }

    /// All headers, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Header> + Clone {
        self.first.iter().chain(self.rest.iter().flat_map(|rest| rest.iter()))
    }

    /// How many headers there are, duplicates counted.
    pub fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.as_ref().map_or(0, |rest| rest.len())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// The last non-null value of exactly this name.
    pub fn get(&self, name: &str) -> Option<&Bytes> {
        self.iter().rev().find_map(|h| if h.name == name { h.value.as_ref() } else { None })
    }

    /// The same as text; `None` too for a value that is not UTF-8.
    pub fn get_str(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.get(name)?).ok()
    }

    /// Adds a header at the end, whatever is there already. A static name or value is not copied.
    pub fn append(&mut self, name: impl Into<ByteString>, value: impl Into<Option<Bytes>>) {
        self.push(Header { name: name.into(), value: value.into() });
    }

    /// Replaces every header of this name, in any case, by one at the end.
    pub fn set(&mut self, name: impl Into<ByteString>, value: impl Into<Bytes>) {
        let name = name.into();
        self.remove(&name);
        self.push(Header { name, value: Some(value.into()) });
    }

    /// Removes every header of this name, ASCII case ignored.
    pub fn remove(&mut self, name: &str) {
        let is_it = |h: &Header| h.name.eq_ignore_ascii_case(name);
        if self.iter().any(is_it) {
            self.retain(|h| !is_it(h));
        }
    }

    /// Keeps only the headers that `keep` says yes to.
    pub fn retain(&mut self, mut keep: impl FnMut(&Header) -> bool) {
        if let Some(rest) = &mut self.rest {
            let keep_first = self.first.as_ref().is_some_and(&mut keep);
            let rest = Arc::make_mut(rest);
            rest.retain(&mut keep);
            if !keep_first {
                self.first = if rest.is_empty() { None } else { Some(rest.remove(0)) };
            }
        } else if !self.first.as_ref().is_some_and(keep) {
            self.first = None;
        }
    }

    fn push(&mut self, header: Header) {
        if self.first.is_none() {
            self.first = Some(header);
        } else {
            // Room for the propagation fields that are likely to follow.
            Arc::make_mut(self.rest.get_or_insert_with(|| Arc::new(Vec::with_capacity(3)))).push(header);
        }
    }
}

impl PartialEq for Headers {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Headers {}

impl Extend<Header> for Headers {
    fn extend<I: IntoIterator<Item = Header>>(&mut self, headers: I) {
        let mut headers = headers.into_iter();
        if self.first.is_none() {
            self.first = headers.next();
        }
        let mut headers = headers.peekable();
        if headers.peek().is_some() {
            let hint = headers.size_hint().0;
            let rest = self.rest.get_or_insert_with(|| Arc::new(Vec::with_capacity(hint + 2)));
            Arc::make_mut(rest).extend(headers);
        }
    }
}

impl FromIterator<Header> for Headers {
    fn from_iter<I: IntoIterator<Item = Header>>(headers: I) -> Self {
        let mut list = Headers::new();
        list.extend(headers);
        list
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|header| (&header.name, &header.value))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(pairs: &[(&'static str, &'static str)]) -> Headers {
        pairs
            .iter()
            .map(|(n, v)| Header {
                name: ByteString::from_static(n),
                value: Some(Bytes::from_static(v.as_bytes())),
            })
            .collect()
    }

    #[test]
    fn duplicates_nulls_and_order_are_kept() {
        let mut headers = list(&[("k", "1"), ("k", "2"), ("", "")]);
        headers.append("n", None);
        let names: Vec<_> = headers.iter().map(|h| (&*h.name, h.value.as_deref())).collect();
        assert_eq!(
            names,
            [("k", Some(&b"1"[..])), ("k", Some(&b"2"[..])), ("", Some(&b""[..])), ("n", None)]
        );
        assert_eq!(headers.get("k").map(|v| &v[..]), Some(&b"2"[..]));
        assert_eq!((headers.get("n"), headers.get_str("n"), headers.get_str("k")), (None, None, Some("2")));
        headers.append("k", Bytes::from_static(b"\xff"));
        assert_eq!(headers.get_str("k"), None);
        assert_eq!(headers.len(), 5);
    }

    #[test]
    fn set_replaces_all_of_a_name_in_any_case() {
        for before in
            [&[][..], &[("A", "0")], &[("a", "0"), ("b", "1")], &[("b", "1"), ("A", "0"), ("a", "2")]]
        {
            let mut headers = list(before);
            headers.set("a", "new");
            let rest = headers.len() - 1;
            assert_eq!(rest, before.iter().filter(|(n, _)| *n == "b").count());
            assert_eq!(headers.iter().last(), list(&[("a", "new")]).iter().next());
        }
    }

    #[test]
    fn a_clone_is_not_changed_by_the_other() {
        let a = list(&[("a", "1"), ("b", "2")]);
        let mut b = a.clone();
        b.remove("a");
        b.set("b", "3");
        assert_eq!(a, list(&[("a", "1"), ("b", "2")]));
        assert_eq!(b, list(&[("b", "3")]));
    }

    #[test]
    fn they_are_shown_as_a_list() {
        let mut headers = Headers::new();
        headers.append("tenant", Bytes::from_static(b"acme"));
        headers.append("gone", None);
        assert_eq!(format!("{headers:?}"), r#"[("tenant", Some(b"acme")), ("gone", None)]"#);
    }
}
