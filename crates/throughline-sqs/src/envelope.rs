//! Contexts that are not in message attributes: in the envelope of SNS, in an event of `EventBridge`, in the X-Ray header.

use crate::metadata::SnsMetadata;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::Deserialize;
use std::{borrow::Cow, collections::BTreeMap};
use throughline_core::{ByteString, ContextBeside, Header, Headers};

/// The message inside an envelope of SNS.
#[derive(Debug)]
pub(crate) struct Wrapped {
    pub(crate) payload: String,
    pub(crate) headers: Headers,
    pub(crate) types: Vec<(ByteString, ByteString)>,
    pub(crate) metadata: SnsMetadata,
}

/// Takes a body apart that SNS wrapped (`RawMessageDelivery` off).
pub(crate) fn sns(body: &str) -> Option<Wrapped> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Envelope {
        r#type: String,
        topic_arn: String,
        message: String,
        message_id: String,
        subject: Option<String>,
        timestamp: Option<String>,
        #[serde(default)]
        message_attributes: BTreeMap<String, Attribute>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Attribute {
        r#type: String,
        value: String,
    }
    // Most bodies are none of it, and need not be parsed to be known.
    if !(is_object(body) && body.contains("\"Notification\"") && body.contains("\"TopicArn\"")) {
        return None;
    }
    let envelope: Envelope = serde_json::from_str(body).ok()?;
    if envelope.r#type != "Notification" {
        return None;
    }
    let mut types = Vec::new();
    let header = |(name, attribute): (String, Attribute)| {
        let name = ByteString::from(name);
        let value = match attribute.r#type.as_str() {
            "Binary" => {
                Bytes::from(STANDARD.decode(&attribute.value).unwrap_or(attribute.value.into_bytes()))
            }
            _ => Bytes::from(attribute.value),
        };
        if attribute.r#type != "String" {
            // SQS itself has no arrays: they are text there too.
            let known = if attribute.r#type.starts_with("String") { "String" } else { &attribute.r#type };
            types.push((name.clone(), known.into()));
        }
        Header { name, value: Some(value) }
    };
    let headers = envelope.message_attributes.into_iter().map(header).collect();
    let metadata = SnsMetadata {
        topic_arn: envelope.topic_arn.into(),
        message_id: envelope.message_id.into(),
        subject: envelope.subject.map(Into::into),
        timestamp: envelope.timestamp.map(Into::into),
    };
    Some(Wrapped { payload: envelope.message, headers, types, metadata })
}

/// The context in an event of `EventBridge`. It has no place for one of its own: publishers write the fields into `detail`.
pub(crate) fn event_bridge(body: &str) -> Option<ContextBeside> {
    #[derive(Deserialize)]
    struct Event<'a> {
        #[serde(borrow)]
        detail: Fields<'a>,
    }
    #[derive(Deserialize)]
    struct Fields<'a> {
        #[serde(borrow)]
        traceparent: Cow<'a, str>,
        #[serde(borrow)]
        tracestate: Option<Cow<'a, str>>,
        #[serde(borrow)]
        baggage: Option<Cow<'a, str>>,
    }
    if !(is_object(body) && body.contains("\"detail-type\"") && body.contains("\"traceparent\"")) {
        return None;
    }
    let Fields { traceparent, tracestate, baggage } = serde_json::from_str::<Event<'_>>(body).ok()?.detail;
    let all = [("traceparent", Some(traceparent)), ("tracestate", tracestate), ("baggage", baggage)];
    let mut fields = Headers::new();
    for (name, value) in all {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            fields.append(ByteString::from_static(name), Some(Bytes::from(value.into_owned())));
        }
    }
    Some(ContextBeside { fields, place: "eventbridge", decides: true, first: false })
}

/// The fields of an envelope that stays around its message.
pub(crate) fn beside(headers: &Headers, place: &'static str) -> ContextBeside {
    ContextBeside { fields: headers.clone(), place, decides: true, first: false }
}

/// The name that a propagator for X-Ray reads and writes.
pub(crate) const XRAY_FIELD: &str = "x-amzn-trace-id";

/// The context of an X-Ray header, as it is and as the `traceparent` that says the same. AWS adds such a header by itself,
/// with `Sampled=0` where nobody traces: what it says of sampling decides nothing.
pub(crate) fn xray(header: &str) -> Option<ContextBeside> {
    let (mut trace, mut parent, mut sampled) = (None, None, false);
    for part in header.split(';') {
        match part.trim().split_once('=') {
            Some(("Root", root)) => trace = root_to_trace(root),
            Some(("Parent", span)) => parent = is_hex(span, 16).then_some(span),
            Some(("Sampled", flag)) => sampled = flag == "1",
            _ => {}
        }
    }
    let (trace, parent) = (trace?, parent?);
    let mut fields = Headers::new();
    let traceparent = format!("00-{trace}-{parent}-0{}", u8::from(sampled)).to_ascii_lowercase();
    fields.append(ByteString::from_static("traceparent"), Some(Bytes::from(traceparent)));
    fields.append(ByteString::from_static(XRAY_FIELD), Some(Bytes::from(header.to_owned())));
    Some(ContextBeside { fields, place: "xray", decides: false, first: false })
}

/// A `traceparent` as an X-Ray header; `None` if it is none.
pub(crate) fn to_xray(traceparent: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(traceparent).ok()?;
    let mut parts = text.split('-');
    let (_, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if !is_hex(trace, 32) || !is_hex(span, 16) || !is_hex(flags, 2) {
        return None;
    }
    let sampled = u8::from_str_radix(flags, 16).ok()? & 1;
    let (time, rest) = trace.split_at(8);
    Some(format!("Root=1-{time}-{rest};Parent={span};Sampled={sampled}"))
}

/// `1-<8 digits>-<24 digits>` as 32 digits.
fn root_to_trace(root: &str) -> Option<String> {
    let (time, rest) = root.strip_prefix("1-")?.split_once('-')?;
    (is_hex(time, 8) && is_hex(rest, 24)).then(|| format!("{time}{rest}"))
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_object(body: &str) -> bool {
    body.trim_start().starts_with('{')
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACEPARENT: &str = "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01";
    const XRAY: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";

    fn field(beside: &ContextBeside, name: &str) -> Option<String> {
        beside.fields.get(name).map(|value| String::from_utf8_lossy(value).into_owned())
    }

    #[test]
    fn an_xray_header_is_a_traceparent_and_back() {
        assert_eq!(to_xray(TRACEPARENT.as_bytes()).as_deref(), Some(XRAY));
        let beside = xray(XRAY).unwrap();
        assert_eq!(field(&beside, "traceparent").as_deref(), Some(TRACEPARENT));
        assert!(!beside.decides);
        let unsampled = xray(&XRAY.replace("Sampled=1", "Sampled=0")).unwrap();
        assert!(field(&unsampled, "traceparent").unwrap().ends_with("-00") && !unsampled.decides);
        assert!(xray(&format!("Self=1-0-0; {XRAY};Lineage=a")).is_some(), "other parts and spaces");
    }

    #[test]
    fn what_is_no_context_is_none() {
        for bad in [
            "",
            "Root=1-5759e988-bd862e3fe1be46a994272793",
            "Root=1-zz-bd;Parent=53995c3f42cd8ad8",
            "Parent=1",
        ] {
            assert!(xray(bad).is_none(), "{bad}");
        }
        for bad in ["", "00-1-2-01", "nonsense", "00-5759e988bd862e3fe1be46a99427279z-53995c3f42cd8ad8-01"] {
            assert!(to_xray(bad.as_bytes()).is_none(), "{bad}");
        }
    }

    #[test]
    fn an_envelope_of_sns_is_taken_apart() {
        let body = r#"{"Type":"Notification","MessageId":"m","TopicArn":"arn:aws:sns:eu-west-1:1:t","Subject":"s",
            "Message":"{\"n\":1}","Timestamp":"2026-01-01T00:00:00.000Z","Signature":"x","MessageAttributes":{
            "traceparent":{"Type":"String","Value":"v"},"bin":{"Type":"Binary","Value":"/wA="},
            "n":{"Type":"Number","Value":"7"},"list":{"Type":"String.Array","Value":"[1]"}}}"#;
        let wrapped = sns(body).unwrap();
        assert_eq!(wrapped.payload, "{\"n\":1}");
        let value = |name: &str| wrapped.headers.get(name).map(|value| value.to_vec());
        assert_eq!((value("traceparent"), value("bin")), (Some(b"v".to_vec()), Some(vec![255, 0])));
        let kind =
            |name: &str| wrapped.types.iter().find(|(known, _)| *known == name).map(|(_, kind)| &**kind);
        assert_eq!(
            (kind("n"), kind("bin"), kind("traceparent"), kind("list")),
            (Some("Number"), Some("Binary"), None, Some("String"))
        );
        assert_eq!(wrapped.metadata.subject.as_deref(), Some("s"));
    }

    #[test]
    fn other_bodies_are_no_envelopes() {
        for body in [
            "plain",
            "{}",
            "null",
            "[]",
            r#"{"Type":"Notification"}"#,
            r#"{"Type":"SubscriptionConfirmation","TopicArn":"t","Message":"","MessageId":"","x":"Notification"}"#,
            r#"{"Type":"Notification","TopicArn":1,"Message":"","MessageId":""}"#,
        ] {
            assert!(sns(body).is_none(), "{body}");
        }
    }

    #[test]
    fn an_event_carries_its_context_in_its_detail() {
        let body = format!(
            r#"{{"detail-type":"t","source":"s","detail":{{"traceparent":"{TRACEPARENT}","tracestate":"","n":1}}}}"#
        );
        let beside = event_bridge(&body).unwrap();
        assert_eq!(field(&beside, "traceparent").as_deref(), Some(TRACEPARENT));
        assert_eq!((field(&beside, "tracestate"), beside.place), (None, "eventbridge"));
        assert!(event_bridge(r#"{"detail-type":"t","detail":{}}"#).is_none());
    }
}
