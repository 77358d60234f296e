//! Trace contexts around the raw client.

use bytes::Bytes;
use rdkafka::message::{Header, Headers, OwnedHeaders};
use std::{
    ops::ControlFlow,
    panic::{AssertUnwindSafe, catch_unwind},
};
use throughline_core::{Extract, Inject};

/// Headers of the client's own as a carrier, for the tracing layers around a client and a message type of your own.
///
/// ```
/// use throughline_core::Inject;
/// use throughline_kafka::HeaderCarrier;
///
/// let mut carrier = HeaderCarrier::default();
/// carrier.set("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into());
/// let headers = carrier.0; // for `FutureRecord::to(topic).headers(headers)`
/// # use rdkafka::message::Headers;
/// assert_eq!(headers.get(0).key, "traceparent");
/// ```
#[derive(Clone, Debug, Default)]
pub struct HeaderCarrier(
    /// The headers, in order.
    pub OwnedHeaders,
);

impl HeaderCarrier {
    /// The headers of what was received. None if one of their names is not UTF-8, which the client cannot read.
    pub fn of<M: rdkafka::Message>(message: &M) -> Self {
        let headers = message.headers();
        let copied = catch_unwind(AssertUnwindSafe(|| {
            let all = headers.into_iter().flat_map(Headers::iter);
            all.fold(OwnedHeaders::new(), OwnedHeaders::insert)
        }));
        HeaderCarrier(copied.unwrap_or_default())
    }
}

impl Extract for HeaderCarrier {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a str, &'a [u8]) -> ControlFlow<()>) {
        let last_first = (0..self.0.count()).rev().filter_map(|at| self.0.try_get(at));
        let valued = last_first.filter_map(|header| Some((header.key, header.value?)));
        let _ = valued.into_iter().try_for_each(|(name, value)| visit(name, value));
    }
}

impl Inject for HeaderCarrier {
    fn set(&mut self, name: &'static str, value: Bytes) {
        self.remove(name);
        let headers = std::mem::take(&mut self.0);
        self.0 = headers.insert(Header { key: name, value: Some(&*value) });
    }

    /// The client's headers can only be added to, so the others are copied.
    fn remove(&mut self, name: &str) {
        if self.0.iter().any(|header| header.key.eq_ignore_ascii_case(name)) {
            let others = self.0.iter().filter(|header| !header.key.eq_ignore_ascii_case(name));
            self.0 = others.fold(OwnedHeaders::new(), OwnedHeaders::insert);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::{Timestamp, message::OwnedMessage};

    #[test]
    fn what_was_there_is_replaced_and_the_last_is_read_first() {
        let header = |key, value| Header { key, value };
        let headers = OwnedHeaders::new()
            .insert(header("own", Some("1")))
            .insert(header("Traceparent", Some("old")))
            .insert(header("null", None::<&str>))
            .insert(header("own", Some("2")));
        let time = Timestamp::NotAvailable;
        let record = OwnedMessage::new(None, None, "t".to_owned(), time, 0, 0, Some(headers));
        let mut carrier = HeaderCarrier::of(&record);
        carrier.set("traceparent", Bytes::from_static(b"new"));
        let mut seen = Vec::new();
        carrier.visit(&mut |name, value| {
            seen.push((name.to_owned(), String::from_utf8_lossy(value).into_owned()));
            ControlFlow::Continue(())
        });
        let expected = [("traceparent", "new"), ("own", "2"), ("own", "1")];
        assert_eq!(seen, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(carrier.0.count(), 4, "a null header stays");
    }
}
