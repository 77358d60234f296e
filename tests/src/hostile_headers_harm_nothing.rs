//! G12, over the wire: headers that are there to harm.

use crate::{
    Inbox, Site, Stage,
    steps::{named, note, number, parse},
};
use bytes::Bytes;
use throughline::{ByteString, Message, Worker, handler_with};
use throughline_test::Expect;
use tower::ServiceExt;

const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Every message is delivered, headers untouched; what has a usable context is linked to it, the rest begin anew.
pub async fn every_message_is_delivered_whatever_its_headers<B: Site>(broker: &B) {
    let mut stage = Stage::new(broker);
    let topic = stage.topic(1).await;
    let (told, mut inbox) = Inbox::new();
    stage.spawn(Worker::new("w", stage.subscription(&topic), move || handler_with(told.clone(), note)));
    let specimens = specimens();
    let usable = specimens.iter().filter(|(_, usable, _)| *usable).count();
    for (n, (what, _, headers)) in specimens.iter().enumerate() {
        let mut message = Message::new(n.to_string());
        for (name, value) in headers {
            message.headers_mut().append(name.clone(), value.clone());
        }
        let sent = broker.sink(&topic).oneshot(message).await;
        sent.unwrap_or_else(|error| panic!("{what}: {error}"));
    }
    for arrived in inbox.take(specimens.len()).await {
        let (what, _, headers) = &specimens[number(&arrived) as usize];
        let came = arrived.headers().iter().map(|h| (h.name.clone(), h.value.clone()));
        assert!(came.eq(headers.iter().cloned()), "the headers of {what}");
    }
    let graph = stage.end().await.external(parse(GOOD));
    let bad = specimens.len() - usable;
    let expect = Expect::new()
        .spans(specimens.len())
        .process_spans(specimens.len())
        .links(usable)
        .without_context(bad);
    graph.check(&expect).unwrap();
    for (span, (what, usable, _)) in
        named(&graph, &format!("{} {topic}", B::PROCESS)).into_iter().zip(&specimens)
    {
        assert_eq!(span.links.len(), usize::from(*usable), "{what}");
        assert!(span.status.is_unset(), "{what}");
        assert!(span.tracestate.len() <= 32 * 512, "{what}");
    }
}

type Specimen = (&'static str, bool, Vec<(ByteString, Option<Bytes>)>);

/// What it is, whether there is a context to be found in it, and the headers.
fn specimens() -> Vec<Specimen> {
    let one = |name: &str, value: &[u8]| (ByteString::from(name), Some(Bytes::copy_from_slice(value)));
    let good = || one("traceparent", GOOD.as_bytes());
    let repeat =
        |n: usize, of: &dyn Fn(usize) -> (ByteString, Option<Bytes>)| (0..n).map(of).collect::<Vec<_>>();
    let with_good = |mut list: Vec<_>| {
        list.push(good());
        list
    };
    let members: String = (0..20_000).map(|n| format!("k{n}=v,")).collect();
    vec![
        ("a value that is not UTF-8", false, vec![one("traceparent", b"\xff\xfe\x00")]),
        ("a null value", false, vec![("traceparent".into(), None)]),
        ("a thousand duplicates", true, repeat(1_000, &|_| good())),
        ("a thousand bad duplicates", false, repeat(1_000, &|_| one("traceparent", b"00-bad"))),
        ("a tracestate of 100 KiB", true, vec![good(), one("tracestate", members.as_bytes())]),
        ("a tracestate of one character", true, vec![good(), one("tracestate", &vec![b'a'; 100_000])]),
        ("a baggage of 100 KiB", true, vec![good(), one("baggage", members.as_bytes())]),
        (
            "a thousand baggages",
            true,
            with_good(repeat(1_000, &|n| one("baggage", format!("k{n}=v").as_bytes()))),
        ),
        ("five thousand headers", true, with_good(repeat(5_000, &|n| one(&format!("h{n}"), b"v")))),
        ("a traceparent of 100 KiB", false, vec![one("traceparent", &GOOD.as_bytes().repeat(1_800))]),
        ("a name of 10 KiB", true, vec![one(&"n".repeat(10_000), b"v"), good()]),
        ("an empty name and value", true, vec![one("", b""), good()]),
        ("control characters", false, vec![one("traceparent", b"00-\r\n\0-\x1b[2J-01")]),
    ]
}
