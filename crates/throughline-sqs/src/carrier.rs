//! Trace contexts around the raw client.

use crate::{encode::MOST_ATTRIBUTES, text};
use aws_sdk_sqs::types::MessageAttributeValue;
use bytes::Bytes;
use std::{collections::HashMap, ops::ControlFlow};
use throughline_core::{Extract, Inject};

/// Message attributes of the SDK's as a carrier, for the tracing layers around a client and a message type of your own.
///
/// A field that has no room among ten attributes is left out: injecting never makes a send fail.
///
/// ```
/// use throughline_core::{Extract, Inject};
/// use throughline_sqs::AttributeCarrier;
///
/// let mut carrier = AttributeCarrier::default();
/// carrier.set("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into());
/// let attributes = carrier.0; // for `send_message().set_message_attributes(Some(attributes))`
/// assert_eq!(attributes["traceparent"].data_type, "String");
/// ```
#[derive(Clone, Debug, Default)]
pub struct AttributeCarrier(
    /// The attributes, by name.
    pub HashMap<String, MessageAttributeValue>,
);

impl Extract for AttributeCarrier {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a str, &'a [u8]) -> ControlFlow<()>) {
        for (name, attribute) in &self.0 {
            let binary = || attribute.binary_value.as_ref().map(|binary| binary.as_ref());
            let value = attribute.string_value.as_deref().map(str::as_bytes).or_else(binary);
            if let Some(value) = value
                && visit(name, value).is_break()
            {
                return;
            }
        }
    }
}

impl Inject for AttributeCarrier {
    fn set(&mut self, name: &'static str, value: Bytes) {
        self.remove(name);
        if self.0.len() >= MOST_ATTRIBUTES || !text::is_text(&value) {
            return;
        }
        let attribute = MessageAttributeValue::builder().data_type("String");
        if let Ok(attribute) = attribute.string_value(String::from_utf8_lossy(&value)).build() {
            self.0.insert(name.to_owned(), attribute);
        }
    }

    fn remove(&mut self, name: &str) {
        self.0.retain(|known, _| !known.eq_ignore_ascii_case(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_room_is_left_out_and_what_was_there_is_replaced() {
        let mut carrier = AttributeCarrier::default();
        for name in ["Traceparent", "1", "2", "3", "4", "5", "6", "7", "8", "9"] {
            let value =
                MessageAttributeValue::builder().data_type("String").string_value("v").build().unwrap();
            carrier.0.insert(name.to_owned(), value);
        }
        carrier.set("traceparent", Bytes::from_static(b"new"));
        carrier.set("tracestate", Bytes::from_static(b"a=1"));
        carrier.set("baggage", Bytes::new());
        assert_eq!(carrier.0.len(), MOST_ATTRIBUTES);
        let mut seen = Vec::new();
        carrier.visit(&mut |name, value| {
            seen.extend((name.len() > 1).then(|| (name.to_owned(), value.to_vec())));
            ControlFlow::Continue(())
        });
        assert_eq!(seen, [("traceparent".to_owned(), b"new".to_vec())]);
    }
}
