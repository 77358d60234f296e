use super::*;

const TOPIC: &str = "projects/p/topics/t";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn attributes(message: &Message) -> Attributes {
    encode(message, TOPIC, true).unwrap().0.attributes
}

fn refused(message: &Message) -> (ErrorKind, String) {
    let error = encode(message, TOPIC, true).unwrap_err();
    assert_eq!(error.resource(), TOPIC);
    assert!(!error.is_retriable());
    (error.kind(), error.remedy().to_owned())
}

fn with_context(count: usize) -> Message {
    let own = (0..count).fold(Message::new("m"), |message, n| message.with_header(format!("h{n}"), "v"));
    let own = own.with_header("traceparent", PARENT).with_header("tracestate", "a=1");
    own.with_header("baggage", "k=v")
}

#[test]
fn payload_key_headers_and_context_are_written() {
    let message = with_context(1).with_key("k").with_header("empty", "");
    let (native, size) = encode(&message, TOPIC, true).unwrap();
    assert_eq!((&native.data[..], &*native.ordering_key), (&b"m"[..], "k"));
    let mut names: Vec<_> = native.attributes.keys().map(String::as_str).collect();
    names.sort_unstable();
    let all = [
        "baggage",
        "empty",
        "googclient_traceparent",
        "googclient_tracestate",
        "h0",
        "traceparent",
        "tracestate",
    ];
    assert_eq!(names, all);
    assert_eq!(native.attributes["googclient_traceparent"], PARENT);
    assert!(size > 2 * PARENT.len() && size < 400, "{size}");
    let plain = encode(&message, TOPIC, false).unwrap().0.attributes;
    assert!(plain.contains_key("tracestate") && !plain.keys().any(|name| name.starts_with(GOOGLE)));
}

#[test]
fn the_context_is_given_up_from_its_end_and_the_message_never() {
    for (own, left) in [
        (95, vec!["baggage", "googclient_traceparent", "googclient_tracestate", "traceparent", "tracestate"]),
        (96, vec!["googclient_traceparent", "googclient_tracestate", "traceparent", "tracestate"]),
        (97, vec!["googclient_traceparent", "traceparent", "tracestate"]),
        (98, vec!["googclient_traceparent", "traceparent"]),
        (99, vec!["traceparent"]),
        (100, vec![]),
    ] {
        let attributes = attributes(&with_context(own));
        let mut context: Vec<_> =
            attributes.keys().map(String::as_str).filter(|name| is_context(name)).collect();
        context.sort_unstable();
        assert_eq!((attributes.len(), context), (own + left.len(), left));
    }
    let (kind, remedy) = refused(&with_context(101));
    assert!(kind == ErrorKind::TooLarge && remedy.contains("101 headers"), "{remedy}");
}

#[test]
fn a_field_that_is_too_long_is_left_out_alone() {
    let long = "k=".to_owned() + &"v".repeat(LONGEST_VALUE);
    let message =
        Message::new("m").with_header("traceparent", PARENT).with_header("tracestate", long.clone());
    let written = attributes(&message.with_header("baggage", "k=v"));
    assert!(written.contains_key("traceparent") && written.contains_key("baggage"));
    assert!(!written.contains_key("tracestate") && !written.contains_key("googclient_tracestate"));
    let written =
        attributes(&Message::new("m").with_header("traceparent", PARENT).with_header("baggage", long));
    assert!(written.contains_key("traceparent") && !written.contains_key("baggage"));
}

#[test]
fn what_googles_clients_noted_before_is_not_sent_on() {
    let stale = Message::new("m")
        .with_header("googclient_traceparent", "00-00000000000000000000000000000001-0000000000000001-01")
        .with_header("googclient_deliveryattempt", "3")
        .with_header("traceparent", PARENT);
    let written = attributes(&stale);
    assert_eq!(written.len(), 2);
    assert_eq!([&written["traceparent"], &written["googclient_traceparent"]], [PARENT, PARENT]);
}

#[test]
fn what_is_no_context_of_ours_is_sent_as_it_is() {
    for (name, value) in [("Traceparent", PARENT), ("traceparent", "not one")] {
        let written = attributes(&Message::new("m").with_header(name, value));
        assert_eq!((written.len(), &*written[name]), (1, value));
    }
}

#[test]
fn what_the_service_would_refuse_is_refused_before_it_is_sent() {
    use ErrorKind::{TooLarge, Unrepresentable};
    let message = || Message::new("m");
    let mut null = message();
    null.headers_mut().append("n", None::<Bytes>);
    let mut twice = message();
    twice.headers_mut().append("n", Bytes::from_static(b"1"));
    twice.headers_mut().append("n", Bytes::from_static(b"2"));
    for (message, kind, said) in [
        (Message::tombstone(), Unrepresentable, "no payload"),
        (Message::new(""), Unrepresentable, "empty"),
        (null, Unrepresentable, "null"),
        (twice, Unrepresentable, "twice"),
        (message().with_header("goog-id", "1"), Unrepresentable, "goog"),
        (message().with_header("", "1"), Unrepresentable, "no name"),
        (message().with_header("n", &b"\xff"[..]), Unrepresentable, "UTF-8"),
        (message().with_header("n".repeat(257), "1"), TooLarge, "257 bytes"),
        (message().with_header("n", "v".repeat(1025)), TooLarge, "1025 bytes"),
        (message().with_key(""), Unrepresentable, "empty"),
        (message().with_key(&b"a\xff"[..]), Unrepresentable, "byte 1"),
        (message().with_key("k".repeat(1025)), TooLarge, "1025 bytes"),
    ] {
        let (found, remedy) = refused(&message);
        assert!(found == kind && remedy.contains(said), "{found:?}: {remedy}");
    }
    let largest = message().with_header("n".repeat(256), "v".repeat(1024)).with_key("k".repeat(1024));
    assert!(encode(&largest, TOPIC, true).is_ok());
    assert!(encode(&Message::new("").with_header("n", ""), TOPIC, true).is_ok());
}

#[test]
fn a_message_over_ten_megabytes_is_refused_and_a_context_does_not_make_it_so() {
    // A tag and four bytes of length around the message, the same around its payload; a tag and a length for the topic.
    let most = MOST_BYTES - 5 - 5 - 2 - TOPIC.len();
    let of = |size: usize| Message::new(vec![b'x'; size]).with_header("traceparent", PARENT);
    assert_eq!(attributes(&of(most)).len(), 0, "the message goes, without a context");
    assert_eq!(attributes(&of(most - 200)).len(), 2);
    let (kind, remedy) = refused(&of(most + 1));
    assert_eq!(kind, ErrorKind::TooLarge);
    assert!(remedy.contains("10000001 bytes") && remedy.contains("10000000"), "{remedy}");
}

#[test]
fn a_field_of_the_protocol_is_as_long_as_it_is() {
    for (length, bytes) in [(0, 2), (1, 3), (127, 129), (128, 131), (16_383, 16_386), (16_384, 16_388)] {
        assert_eq!(field(length), bytes);
    }
}
