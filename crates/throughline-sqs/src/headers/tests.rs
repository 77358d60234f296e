use super::*;
use crate::{Sqs, config};
use aws_sdk_sqs::primitives::Blob;
use throughline_core::ContextBeside;

const TRACEPARENT: &str = "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01";
const XRAY: &str = "Root=1-11111111-222222222222222222222222;Parent=3333333333333333;Sampled=0";

fn settings() -> Settings {
    Sqs::local("http://127.0.0.1:1").subscribe("q").settings
}

fn native(body: &str) -> Native {
    Native::builder().message_id("m-1").receipt_handle("h").body(body).build()
}

fn text(value: &str) -> MessageAttributeValue {
    MessageAttributeValue::builder().data_type("String").string_value(value).build().unwrap()
}

fn decoded(native: Native) -> Message {
    decode(native, &config::destination("q"), &settings()).message
}

fn beside(message: &Message) -> Option<(&'static str, String)> {
    let beside = message.extensions().get::<ContextBeside>()?;
    Some((beside.place, String::from_utf8_lossy(beside.fields.get("traceparent")?).into_owned()))
}

fn sns(attributes: &str) -> String {
    format!(
        r#"{{"Type":"Notification","MessageId":"s","TopicArn":"t","Message":"inner","MessageAttributes":{{{attributes}}}}}"#
    )
}

fn event(detail: &str) -> String {
    format!(r#"{{"detail-type":"t","source":"s","detail":{{{detail}}}}}"#)
}

#[test]
fn attributes_come_as_headers_and_keep_their_types() {
    let mut with = native("x");
    let number = MessageAttributeValue::builder().data_type("Number").string_value("7").build().unwrap();
    let binary =
        MessageAttributeValue::builder().data_type("Binary").binary_value(Blob::new("text")).build().unwrap();
    let all = [("n", number), ("b", binary), ("s", text("é")), (KEY, text("key"))];
    with.message_attributes = Some(all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect());
    let message = decoded(with);
    let list: Vec<_> = message.headers().iter().map(|h| (&*h.name, h.value.as_deref().unwrap())).collect();
    assert_eq!(list, [("b", &b"text"[..]), ("n", b"7"), ("s", "é".as_bytes())]);
    assert_eq!(message.key().map(|key| &key[..]), Some(&b"key"[..]));
    let types = message.extensions().get::<AttributeTypes>().unwrap();
    assert_eq!(*types, AttributeTypes::new().set("b", "Binary").set("n", "Number"));
}

/// FC-44: a time that is none is none, and the message is delivered.
#[test]
fn what_sqs_says_of_a_message_is_read_or_left_out() {
    let of = |sent: &str, count: &str| {
        let mut with = native("x");
        let all = [
            (System::SentTimestamp, sent),
            (System::ApproximateReceiveCount, count),
            (System::MessageGroupId, "g"),
        ];
        with.attributes = Some(all.into_iter().map(|(name, value)| (name, value.to_owned())).collect());
        let message = decoded(with);
        let origin = message.origin().unwrap().clone();
        assert_eq!((origin.id.as_deref(), message.key().map(|key| &key[..])), (Some("m-1"), Some(&b"g"[..])));
        (origin.time, origin.delivery_count)
    };
    let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
    assert_eq!(of("1700000000123", "3"), (Some(time), 3));
    for garbage in ["", "abc", "-1", "99999999999999999999", "253402300800000"] {
        assert_eq!(of(garbage, garbage).0, None, "{garbage}");
    }
    assert_eq!(of("0", "0"), (Some(SystemTime::UNIX_EPOCH), 1));
    assert_eq!(decoded(native("x")).origin().unwrap().time, None);
}

#[test]
fn the_context_is_read_in_its_order() {
    let with = |body: &str, attributes: &[(&str, &str)], xray: bool| {
        let mut with = native(body);
        let list = attributes.iter().map(|(name, value)| ((*name).to_owned(), text(value)));
        with.message_attributes = Some(list.collect());
        with.attributes = xray.then(|| HashMap::from([(System::AwsTraceHeader, XRAY.to_owned())]));
        decoded(with)
    };
    let header = |message: &Message| {
        message.headers().get("traceparent").map(|v| String::from_utf8_lossy(v).into_owned())
    };
    let inside = format!(r#""traceparent":{{"Type":"String","Value":"{TRACEPARENT}"}}"#);
    let detail = format!(r#""traceparent":"{TRACEPARENT}""#);
    let from_xray = "00-11111111222222222222222222222222-3333333333333333-00".to_owned();

    let all = with(&sns(&inside), &[("traceparent", "own")], true);
    // What is beside the headers counts only where those say nothing.
    let header_of_aws = Some(("xray", from_xray.clone()));
    assert_eq!(
        (header(&all).as_deref(), beside(&all)),
        (Some("own"), header_of_aws.clone()),
        "attributes first"
    );
    let wrapped = with(&sns(&inside), &[], true);
    assert_eq!(
        (header(&wrapped).as_deref(), beside(&wrapped)),
        (Some(TRACEPARENT), header_of_aws),
        "then SNS"
    );
    assert_eq!(wrapped.payload().as_ref(), b"inner");
    assert_eq!(wrapped.extensions().get::<SqsMetadata>().unwrap().sns.as_ref().unwrap().topic_arn, "t");
    let bridged = with(&event(&detail), &[], true);
    assert_eq!((header(&bridged), beside(&bridged)), (None, Some(("eventbridge", TRACEPARENT.to_owned()))));
    let last = with(&event(""), &[], true);
    assert_eq!((header(&last), beside(&last)), (None, Some(("xray", from_xray.clone()))));
    let bare = with(&sns(""), &[], true);
    assert_eq!(
        beside(&bare),
        Some(("xray", from_xray)),
        "an envelope without a context does not hide the header"
    );
    assert_eq!(beside(&with("x", &[], false)), None);
}

#[test]
fn an_envelope_that_stays_still_gives_its_context() {
    let body = sns(&format!(r#""traceparent":{{"Type":"String","Value":"{TRACEPARENT}"}}"#));
    let settings = Settings { unwrap_sns: false, ..settings() };
    let message = decode(native(&body), &config::destination("q"), &settings).message;
    assert_eq!(message.payload().as_ref(), body.as_bytes());
    assert!(message.headers().is_empty());
    assert_eq!(beside(&message), Some(("sns", TRACEPARENT.to_owned())));
}

#[test]
fn base64_is_taken_off_and_what_is_none_is_marked() {
    let settings = Settings { base64: true, ..settings() };
    let of = |body: &str| decode(native(body), &config::destination("q"), &settings).message;
    assert_eq!(of("AP8=").payload().as_ref(), b"\x00\xff");
    let other = of("not base64");
    assert_eq!(other.payload().as_ref(), b"not base64");
    assert!(other.extensions().get::<NotBase64>().is_some());
}

#[test]
fn a_packed_dead_letter_is_headers_again() {
    let mut with = native("x");
    with.message_attributes = Some(HashMap::from([(DEAD_LETTER.to_owned(), text(r#"{"reason":"no"}"#))]));
    let message = decoded(with);
    assert_eq!(message.headers().get("throughline-dead-letter-reason").map(|v| &v[..]), Some(&b"no"[..]));
    assert_eq!(pack(message.headers()).as_deref(), Some(r#"{"reason":"no"}"#));
    let mut foreign = native("x");
    foreign.message_attributes = Some(HashMap::from([(DEAD_LETTER.to_owned(), text("not ours"))]));
    assert_eq!(decoded(foreign).headers().get(DEAD_LETTER).map(|v| &v[..]), Some(&b"not ours"[..]));
}
