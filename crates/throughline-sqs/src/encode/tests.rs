use super::*;
use throughline_core::ByteString;

const TRACEPARENT: &str = "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01";
const XRAY: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
const FIFO: Style = Style { fifo: true, base64: false, content_deduplication: false };

fn plain(message: &Message) -> Result<Encoded, Error> {
    encode(message, "q", Style::default())
}

/// With so many attributes of the user's own.
fn with(own: usize) -> Message {
    (0..own).fold(Message::new("x"), |message, n| message.with_header(format!("own-{n}"), "v"))
}

fn injected(message: Message) -> Message {
    message
        .with_header("traceparent", TRACEPARENT)
        .with_header("tracestate", "a=1")
        .with_header("baggage", "b=2")
}

fn context_of(encoded: &Encoded) -> Vec<&str> {
    CONTEXT.into_iter().filter(|name| encoded.attributes.contains_key(*name)).collect()
}

#[test]
fn with_seven_to_ten_attributes_the_context_gives_way() {
    for (own, fits, header) in [
        (7, &CONTEXT[..3], None),
        (8, &CONTEXT[..2], None),
        (9, &CONTEXT[..1], None),
        (10, &[][..], Some(XRAY)),
    ] {
        let encoded = plain(&injected(with(own))).unwrap();
        assert_eq!((context_of(&encoded), encoded.trace_header.as_deref()), (fits.to_vec(), header), "{own}");
        assert_eq!(encoded.attributes.len(), own + fits.len());
        assert!(encoded.attributes.values().all(|value| value.string_value.as_deref() != Some("")));
    }
}

/// A propagator that was plugged in writes fields of its own.
#[test]
fn fields_of_other_formats_give_way_too() {
    for (own, written) in [(9, 10), (10, 10)] {
        let encoded = plain(&with(own).with_header("b3", "4bf92f3577b34da6-00f067aa0ba902b7-1")).unwrap();
        assert_eq!((encoded.attributes.len(), encoded.attributes.contains_key("b3")), (written, own < 10));
    }
    let both = plain(&injected(with(9)).with_header("uber-trace-id", "1:2:0:1")).unwrap();
    assert_eq!(context_of(&both), ["traceparent"], "W3C's goes before it");
    assert_eq!(both.attributes.len(), 10);
}

#[test]
fn eleven_attributes_are_a_typed_error() {
    let error = plain(&with(11)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(error.to_string().contains("11 attributes") && !error.is_retriable(), "{error}");
    assert!(plain(&with(10).with_key("k")).is_err(), "the key is one of them");
    assert!(encode(&with(10).with_key("k"), "q.fifo", FIFO).is_ok(), "but for a group");
}

#[test]
fn an_empty_value_is_never_written() {
    let mut message = injected(with(1));
    message.headers_mut().set("tracestate", Bytes::new());
    let encoded = plain(&message).unwrap();
    assert_eq!(context_of(&encoded), ["traceparent", "baggage"]);
    for value in [None, Some(Bytes::new())] {
        let mut own = Message::new("x");
        own.headers_mut().append(ByteString::from_static("own"), value);
        let error = plain(&own).unwrap_err();
        assert!(error.kind() == ErrorKind::Unrepresentable && error.to_string().contains("own"), "{error}");
    }
}

#[test]
fn the_size_is_checked_after_the_injection_which_gives_way() {
    let overhead = "own-0Stringv".len();
    let body = |less: usize| {
        let body = "x".repeat(MOST_BYTES - overhead - less);
        injected(Message::new(body).with_header("own-0", "v"))
    };
    let traceparent = "traceparentString".len() + TRACEPARENT.len();
    assert_eq!(context_of(&plain(&body(traceparent)).unwrap()), ["traceparent"]);
    let full = plain(&body(0)).unwrap();
    assert_eq!((full.size(), full.trace_header.as_deref()), (MOST_BYTES, Some(XRAY)));
    let over = Message::new("x".repeat(MOST_BYTES - overhead + 1)).with_header("own-0", "v");
    let error = plain(&injected(over)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    let words = error.to_string();
    assert!(words.contains("1048577 bytes") && words.contains("12 of attributes"), "{words}");
}

/// FC-25: what SQS refuses is refused before it is asked.
#[test]
fn characters_that_sqs_refuses_are_named_and_base64_carries_them() {
    for (bytes, word) in [
        (&b"\x07"[..], "byte 0x07 at offset 0"),
        (b"\x00\xff", "byte 0x00 at offset 0"),
        (b"ok\xef\xbf\xbf", "byte 0xef at offset 2"),
        (b"", "empty"),
    ] {
        let error = plain(&Message::new(bytes)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unrepresentable);
        assert!(error.to_string().contains(word) && !error.is_retriable(), "{error}");
    }
    assert!(plain(&Message::tombstone()).unwrap_err().to_string().contains("no payload"));
    let style = Style { base64: true, ..Style::default() };
    for bytes in [&b"\x07"[..], b"\x00\xff", b"\xef\xbf\xbf", b"ok"] {
        let encoded = encode(&Message::new(bytes), "q", style).unwrap();
        assert_eq!(STANDARD.decode(encoded.body).unwrap(), bytes);
    }
}

#[test]
fn headers_keep_their_types() {
    let mut message = Message::new("x").with_header("text", "t").with_header("bytes", &b"\xff"[..]);
    message = message.with_header("number", "007.0").with_header("label", "l").with_header("blob", "text");
    let types = AttributeTypes::new().set("number", "Number").set("label", "String.x").set("blob", "Binary");
    message.extensions_mut().insert(types);
    let encoded = plain(&message).unwrap();
    let of = |name: &str| {
        let value = &encoded.attributes[name];
        (
            value.data_type.as_str(),
            value.string_value.as_deref(),
            value.binary_value.as_ref().map(|b| b.as_ref()),
        )
    };
    assert_eq!(of("text"), ("String", Some("t"), None));
    assert_eq!(of("bytes"), ("Binary", None, Some(&b"\xff"[..])));
    assert_eq!(of("number"), ("Number", Some("007.0"), None));
    assert_eq!(of("label"), ("String.x", Some("l"), None));
    assert_eq!(of("blob"), ("Binary", None, Some(&b"text"[..])));
}

/// SQS refuses the whole batch of one such.
#[test]
fn a_type_that_sqs_does_not_know_is_refused() {
    let typed = |data_type: &str| {
        let mut message = Message::new("x").with_header("a", "1");
        message.extensions_mut().insert(AttributeTypes::new().set("a", data_type.to_owned()));
        plain(&message)
    };
    assert!(["String", "Number", "Number.int", "Binary.gif"].iter().all(|known| typed(known).is_ok()));
    for unknown in ["", "Json", "string", "Stringer", &format!("String.{}", "x".repeat(256))] {
        assert_eq!(typed(unknown).unwrap_err().kind(), ErrorKind::Unrepresentable, "{unknown}");
    }
}

#[test]
fn names_that_are_none_and_names_that_are_there_twice_are_refused() {
    for message in [
        Message::new("x").with_header("AWS.x", "v"),
        Message::new("x").with_header("é", "v"),
        Message::new("x").with_header("a", "1").with_header("a", "2"),
    ] {
        assert_eq!(plain(&message).unwrap_err().kind(), ErrorKind::Unrepresentable);
    }
}

#[test]
fn a_dead_letter_is_one_attribute_and_gives_way_to_the_users() {
    let letter = |own: usize| {
        let message = injected(with(own)).with_header("throughline-dead-letter-reason", "no\u{7}");
        plain(&message.with_header("throughline-dead-letter-attempts", "3")).unwrap()
    };
    let encoded = letter(3);
    assert_eq!(encoded.attributes.len(), 3 + 1 + 3);
    let packed = encoded.attributes[DEAD_LETTER].string_value.as_deref().unwrap();
    assert_eq!(packed, r#"{"attempts":"3","reason":"no\u0007"}"#);
    assert_eq!(letter(9).trace_header.as_deref(), Some(XRAY));
    assert!(!letter(10).attributes.contains_key(DEAD_LETTER));
}

/// A dead letter is what was received: it must fit, whatever comes to it on the way.
#[test]
fn a_dead_letter_that_was_as_large_as_can_be_still_fits() {
    let letter = |message: Message| message.with_header("throughline-dead-letter-reason", "no");
    let full = plain(&letter(injected(with(10)).with_key("group"))).unwrap();
    assert_eq!((full.attributes.len(), full.trace_header.as_deref()), (10, Some(XRAY)));
    let large = plain(&letter(injected(Message::new("x".repeat(MOST_BYTES))))).unwrap();
    assert_eq!((large.attributes.len(), large.trace_header.as_deref()), (0, Some(XRAY)));
}

/// FC-28: a FIFO queue wants a group, and what is sent to it twice is known by its id.
#[test]
fn a_fifo_queue_gets_a_group_and_a_stable_id() {
    let error = encode(&Message::new("x"), "q.fifo", FIFO).unwrap_err();
    assert!(error.kind() == ErrorKind::Unrepresentable && error.to_string().contains("key"), "{error}");
    assert!(encode(&Message::new("x").with_key("g 1"), "q.fifo", FIFO).is_err());
    let message = Message::new("x").with_key("g1");
    let id = |message: &Message| encode(message, "q.fifo", FIFO).unwrap().deduplication.unwrap();
    assert_ne!(id(&message), id(&message), "two sends are two messages");
    let mut forwarded = message.clone();
    forwarded.extensions_mut().insert(SqsMetadata { message_id: "m-1".into(), ..SqsMetadata::default() });
    assert_eq!(id(&forwarded), "m-1");
    forwarded.extensions_mut().insert(DeduplicationId("own".into()));
    assert_eq!(id(&forwarded), "own");
    let content = Style { content_deduplication: true, ..FIFO };
    let encoded = encode(&message, "q.fifo", content).unwrap();
    assert_eq!((encoded.group.as_deref(), encoded.deduplication), (Some("g1"), None));
}

#[test]
fn a_delay_is_in_whole_seconds_within_its_bounds() {
    let delayed = |delay: Duration, style: Style| {
        let mut message = Message::new("x").with_key("g");
        message.extensions_mut().insert(Delay(delay));
        encode(&message, "q", style).map(|encoded| encoded.delay)
    };
    assert_eq!(delayed(Duration::from_millis(1_001), Style::default()).unwrap(), Some(2));
    assert_eq!(delayed(LONGEST_DELAY, Style::default()).unwrap(), Some(900));
    assert_eq!(delayed(Duration::from_secs(901), Style::default()).unwrap_err().kind(), ErrorKind::Config);
    assert_eq!(delayed(Duration::ZERO, FIFO).unwrap_err().kind(), ErrorKind::Unsupported);
}
