//! Messages of Pub/Sub as ours: attributes are headers.

use crate::{ContextOrder, dead_letter};
use bytes::Bytes;
use google_cloud_pubsub::model::Message as Native;
use std::{sync::Arc, time::SystemTime};
use throughline_core::{ByteString, ContextBeside, Destination, Header, Headers, Message, Origin};

/// What Google's own clients put before the names of propagation fields.
pub(crate) const GOOGLE: &str = "googclient_";
/// What carries a trace context.
pub(crate) const FIELDS: [&str; 3] = ["traceparent", "tracestate", "baggage"];

/// A message, and what is needed to settle it.
pub(crate) struct Decoded {
    pub(crate) message: Message,
    pub(crate) id: ByteString,
    pub(crate) key: Option<ByteString>,
    /// The `traceparent` that it came with.
    pub(crate) context: Option<Bytes>,
}

/// `attempt` is the service's count of deliveries, where it counts.
pub(crate) fn decode(
    native: Native,
    attempt: Option<i32>,
    destination: &Arc<Destination>,
    order: ContextOrder,
) -> Decoded {
    let id = ByteString::from(native.message_id);
    let key = (!native.ordering_key.is_empty()).then(|| ByteString::from(native.ordering_key));
    let mut origin = Origin::new(destination.clone());
    origin.time = native.publish_time.and_then(|time| SystemTime::try_from(time).ok());
    origin.delivery_count = attempt.and_then(|count| u32::try_from(count).ok()).unwrap_or(1).max(1);
    origin.id = Some(id.clone());

    // Pub/Sub keeps no order of them.
    let mut attributes: Vec<_> = native.attributes.into_iter().collect();
    attributes.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    let header = |(name, value): (String, String)| Header {
        name: ByteString::from(name),
        value: Some(Bytes::from(value)),
    };
    let packed = attributes.iter().position(|(name, _)| name == dead_letter::PACKED);
    let unpacked = packed.and_then(|at| {
        let fields = dead_letter::unpack(&attributes[at].1)?;
        attributes.remove(at);
        Some(fields)
    });
    let mut headers: Headers = attributes.into_iter().map(header).collect();
    headers.extend(unpacked.into_iter().flatten());
    let beside = google(&headers, order);
    let plain = || headers.get("traceparent");
    let googles = || beside.as_ref().and_then(|beside| beside.fields.get("traceparent"));
    let context = match order {
        ContextOrder::PlainFirst => plain().or_else(googles),
        ContextOrder::GoogleFirst => googles().or_else(plain),
    };
    let context = context.cloned();
    let payload = Some(native.data);
    let mut message = Message::received(payload, key.clone().map(ByteString::into_bytes), headers, origin);
    if let Some(beside) = beside {
        message.extensions_mut().insert(beside);
    }
    Decoded { message, id, key, context }
}

/// The context that one of Google's clients wrote.
fn google(headers: &Headers, order: ContextOrder) -> Option<ContextBeside> {
    let mut fields = Headers::new();
    for header in headers.iter() {
        let field = header.name.strip_prefix(GOOGLE).and_then(|name| FIELDS.into_iter().find(|f| *f == name));
        if let Some(field) = field {
            fields.append(ByteString::from_static(field), header.value.clone());
        }
    }
    let first = order == ContextOrder::GoogleFirst;
    (!fields.is_empty()).then_some(ContextBeside { fields, place: "googclient", decides: true, first })
}

#[cfg(test)]
mod tests {
    use super::*;
    use google_cloud_wkt::Timestamp;

    const PLAIN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const GOOGLES: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn decoded(attributes: &[(&str, &str)], order: ContextOrder) -> Decoded {
        let native = Native::new()
            .set_data("body")
            .set_message_id("7")
            .set_attributes(attributes.iter().map(|(name, value)| (*name, *value)));
        decode(native, None, &Arc::new(Destination::new("gcp_pubsub", "t")), order)
    }

    #[test]
    fn attributes_are_headers_and_stay_what_they_are() {
        let Decoded { message, id, key, context } =
            decoded(&[("b", ""), ("a", "1"), ("googclient_traceparent", GOOGLES)], ContextOrder::PlainFirst);
        let names: Vec<_> =
            message.headers().iter().map(|header| (&*header.name, header.value.as_deref())).collect();
        let googles = GOOGLES.as_bytes();
        assert_eq!(
            names,
            [("a", Some(&b"1"[..])), ("b", Some(&b""[..])), ("googclient_traceparent", Some(googles))]
        );
        assert_eq!((&*id, key, context.as_deref()), ("7", None, Some(googles)));
        let beside = message.extensions().get::<ContextBeside>().unwrap();
        assert_eq!(beside.fields.get("traceparent").map(|value| &value[..]), Some(googles));
        assert_eq!(message.origin().unwrap().delivery_count, 1);
    }

    #[test]
    fn a_time_is_taken_as_it_is_said() {
        let destination = Arc::new(Destination::new("gcp_pubsub", "t"));
        let future = SystemTime::now() + std::time::Duration::from_secs(3600);
        let native =
            Native::new().set_publish_time(Timestamp::try_from(future).unwrap()).set_ordering_key("k");
        let decoded = decode(native, Some(3), &destination, ContextOrder::default());
        let origin = decoded.message.origin().unwrap();
        assert_eq!((origin.time, origin.delivery_count), (Some(future), 3));
        assert_eq!(decoded.message.key().map(|key| &key[..]), Some(&b"k"[..]));
        let without = decode(Native::new(), Some(0), &destination, ContextOrder::default());
        let origin = without.message.origin().unwrap();
        assert_eq!((origin.time, origin.delivery_count), (None, 1));
    }

    #[test]
    fn the_fields_of_a_dead_letter_are_headers_again() {
        let packed = decoded(&[("throughline-dead-letter", r#"{"id":"4711"}"#)], ContextOrder::default());
        let id = packed.message.headers().get("throughline-dead-letter-id").map(|value| &value[..]);
        assert_eq!((id, packed.message.headers().len()), (Some(&b"4711"[..]), 1));
        let other = decoded(&[("throughline-dead-letter", "x")], ContextOrder::default());
        assert_eq!(
            other.message.headers().get("throughline-dead-letter").map(|value| &value[..]),
            Some(&b"x"[..])
        );
    }

    #[test]
    fn which_context_counts_is_a_setting() {
        let both = [("googclient_traceparent", GOOGLES), ("traceparent", PLAIN)];
        for (order, first, expected) in
            [(ContextOrder::PlainFirst, false, PLAIN), (ContextOrder::GoogleFirst, true, GOOGLES)]
        {
            let Decoded { message, context, .. } = decoded(&both, order);
            assert_eq!(context.as_deref(), Some(expected.as_bytes()));
            assert_eq!(message.extensions().get::<ContextBeside>().unwrap().first, first);
        }
        let plain =
            decoded(&[("traceparent", PLAIN), ("googclient_OpenTelemetry", "x")], ContextOrder::PlainFirst);
        assert!(plain.message.extensions().get::<ContextBeside>().is_none());
    }
}
