//! Handlers that many scenarios have in common, and what they look at.

use crate::Told;
use std::sync::Once;
use throughline::{Batch, BoxError, Message, Publisher, State};
use throughline_test::{Graph, Kind, Outcome, SpanRecord, SpanRef};

/// Publishes the payload under the same key.
pub(crate) async fn pass_on(message: Message, State(onward): State<Publisher>) -> Result<(), BoxError> {
    onward.send(copy(&message)).await?;
    Ok(())
}

/// Tells the scenario.
pub(crate) async fn note(message: Message, State(told): State<Told>) {
    told.tell(message);
}

/// A new message of the same payload and key.
pub(crate) fn copy(message: &Message) -> Message {
    let copy = Message::new(message.payload().clone());
    match message.key() {
        Some(key) => copy.with_key(key.clone()),
        None => copy,
    }
}

pub(crate) fn text(message: &Message) -> &str {
    std::str::from_utf8(message.payload()).unwrap()
}

pub(crate) fn number(message: &Message) -> u64 {
    text(message).parse().unwrap()
}

pub(crate) fn numbers(batch: &Batch) -> Vec<u64> {
    batch.iter().map(number).collect()
}

/// Partition and offset.
pub(crate) fn place(message: &Message) -> (i32, i64) {
    let origin = message.origin().unwrap();
    (origin.partition.unwrap(), origin.offset.unwrap())
}

pub(crate) fn deliveries(message: &Message) -> u32 {
    message.origin().unwrap().delivery_count
}

/// The header, as text.
pub(crate) fn header<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    message.headers().get(name).map(|value| std::str::from_utf8(value).unwrap())
}

/// The identity in a `traceparent`.
pub(crate) fn parse(traceparent: &str) -> SpanRef {
    let parts: Vec<&str> = traceparent.split('-').collect();
    let [_, trace, span, _] = parts[..] else { panic!("`{traceparent}` is no traceparent") };
    format!("{trace}-{span}").parse().unwrap()
}

/// The identity of the context that a message came with.
pub(crate) fn creation(message: &Message) -> SpanRef {
    parse(header(message, "traceparent").expect("a traceparent"))
}

/// The spans of one kind, in the order in which they began.
pub(crate) fn of_kind(graph: &Graph, kind: Kind) -> Vec<&SpanRecord> {
    let mut spans: Vec<_> = graph.spans().iter().filter(|span| span.kind == kind).collect();
    spans.sort_by_key(|span| span.start);
    spans
}

/// Of these spans those with this name.
pub(crate) fn named<'a>(graph: &'a Graph, name: &str) -> Vec<&'a SpanRecord> {
    let mut spans: Vec<_> = graph.spans().iter().filter(|span| span.name == name).collect();
    spans.sort_by_key(|span| span.start);
    spans
}

pub(crate) fn is_error(span: &SpanRecord) -> bool {
    matches!(span.status, Outcome::Error(_))
}

/// What a span failed with; checks that status and attribute agree.
pub(crate) fn error_type(span: &SpanRecord) -> Option<String> {
    let error = span.text("error.type");
    assert_eq!(is_error(span), error.is_some(), "status and error.type of {span:?}");
    error
}

/// Keeps panics that a scenario makes on purpose off the terminal, where they would hide the others.
pub(crate) fn hush_injected_panics() {
    static HUSHED: Once = Once::new();
    HUSHED.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let injected = text_of(info.payload()).is_some_and(|text| text.contains("injected"));
            if !injected {
                before(info);
            }
        }));
    });
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> Option<&str> {
    panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str))
}
