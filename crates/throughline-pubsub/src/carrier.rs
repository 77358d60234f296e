//! Trace contexts around the raw client.

use crate::encode::{Attributes, CONTEXT, MOST_ATTRIBUTES, text_of};
use bytes::Bytes;
use std::ops::ControlFlow;
use throughline_core::{Extract, Inject};

/// The attributes of the client's own message as a carrier, for the tracing layers around a client and a message type of
/// your own.
///
/// A context is written under its plain names and under those that Google's clients read (`googclient_traceparent`), and
/// read from either; the plain one counts. A field that has no room among a hundred attributes is left out: injecting
/// never makes a publish fail.
///
/// ```
/// use throughline_core::Inject;
/// use throughline_pubsub::AttributeCarrier;
///
/// let mut carrier = AttributeCarrier::default();
/// carrier.set("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into());
/// let attributes = carrier.0; // for `Message::new().set_attributes(attributes)`
/// assert_eq!(attributes["traceparent"], attributes["googclient_traceparent"]);
/// ```
#[derive(Clone, Debug, Default)]
pub struct AttributeCarrier(
    /// The attributes, by name.
    pub Attributes,
);

impl AttributeCarrier {
    fn has(&self, name: &str) -> bool {
        self.0.keys().any(|known| known.eq_ignore_ascii_case(name))
    }

    fn forget(&mut self, name: &str) {
        self.0.retain(|known, _| !known.eq_ignore_ascii_case(name));
    }
}

impl Extract for AttributeCarrier {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a str, &'a [u8]) -> ControlFlow<()>) {
        for (name, value) in &self.0 {
            let copy = CONTEXT.iter().find(|(_, copy)| *copy == Some(name.as_str()));
            let name = match copy {
                Some((plain, _)) if self.has(plain) => continue,
                Some((plain, _)) => plain,
                None => name.as_str(),
            };
            if visit(name, value.as_bytes()).is_break() {
                return;
            }
        }
    }
}

impl Inject for AttributeCarrier {
    fn set(&mut self, name: &'static str, value: Bytes) {
        self.remove(name);
        let Some(text) = text_of(&value) else { return };
        for name in [Some(name), google_name(name)].into_iter().flatten() {
            if self.0.len() < MOST_ATTRIBUTES {
                self.0.insert(name.to_owned(), text.to_owned());
            }
        }
    }

    fn remove(&mut self, name: &str) {
        self.forget(name);
        if let Some(copy) = google_name(name) {
            self.forget(copy);
        }
    }
}

/// What Google's clients call this field of a context.
fn google_name(name: &str) -> Option<&'static str> {
    CONTEXT.iter().find(|(plain, _)| plain.eq_ignore_ascii_case(name)).and_then(|(_, copy)| *copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(carrier: &AttributeCarrier) -> Vec<(String, String)> {
        let mut seen = Vec::new();
        carrier.visit(&mut |name, value| {
            seen.push((name.to_owned(), String::from_utf8_lossy(value).into_owned()));
            ControlFlow::Continue(())
        });
        seen.sort_unstable();
        seen
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn what_google_wrote_is_read_where_nothing_plain_is_there() {
        let mut carrier =
            AttributeCarrier(Attributes::from([pair("googclient_traceparent", "g"), pair("own", "1")]));
        assert_eq!(seen(&carrier), [pair("own", "1"), pair("traceparent", "g")]);
        carrier.0.insert("Traceparent".to_owned(), "p".to_owned());
        assert_eq!(seen(&carrier), [pair("Traceparent", "p"), pair("own", "1")]);
    }

    #[test]
    fn both_names_are_written_replaced_and_removed_together() {
        let mut carrier = AttributeCarrier(Attributes::from([
            pair("Traceparent", "old"),
            pair("googclient_tracestate", "o=1"),
        ]));
        carrier.set("traceparent", Bytes::from_static(b"new"));
        carrier.remove("tracestate");
        let expected = Attributes::from([pair("traceparent", "new"), pair("googclient_traceparent", "new")]);
        assert_eq!(carrier.0, expected);
    }

    #[test]
    fn what_has_no_room_is_left_out() {
        let mut carrier = AttributeCarrier((0..99).map(|n| (n.to_string(), String::new())).collect());
        carrier.set("traceparent", Bytes::from_static(b"new"));
        carrier.set("tracestate", Bytes::from_static(b"a=1"));
        carrier.set("baggage", Bytes::new());
        assert!(carrier.0.len() == MOST_ATTRIBUTES && carrier.0.contains_key("traceparent"));
        let mut carrier = AttributeCarrier::default();
        carrier.set("tracestate", Bytes::from(vec![b'a'; 1025]));
        assert!(carrier.0.is_empty());
    }
}
