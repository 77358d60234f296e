//! Which message a span speaks of.

use super::{Kind, SpanRecord, SpanRef, names, record::text};
use serde_json::Value;
use std::collections::BTreeMap;

/// Where a message is on its broker.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Place {
    Offset {
        destination: String,
        partition: Option<String>,
        offset: String,
    },
    Id {
        destination: String,
        id: String,
    },
    /// The broker says nothing: what made it must do.
    MadeBy {
        destination: String,
        creation: SpanRef,
    },
}

/// What tells one delivery from every other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    pub(super) place: Place,
    /// The group or subscription that read it.
    reader: Option<String>,
    number: Option<String>,
}

/// One delivery, as its process span tells of it.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    pub(super) identity: Option<Identity>,
    /// The context that the message carried.
    pub(super) creation: Option<SpanRef>,
}

impl Place {
    /// Every place that these attributes name; those of a link come before those of its span.
    pub(super) fn all(attributes: &[&BTreeMap<String, Value>]) -> Vec<Place> {
        let destination = find(attributes, |name| name == names::DESTINATION).unwrap_or_default();
        let partition = find(attributes, |name| name == names::PARTITION);
        let offset = find(attributes, |name| name.ends_with(names::OFFSET_SUFFIX));
        let id = find(attributes, |name| name == names::MESSAGE_ID);
        let offset =
            offset.map(|offset| Place::Offset { destination: destination.clone(), partition, offset });
        offset.into_iter().chain(id.map(|id| Place::Id { destination, id })).collect()
    }
}

/// The deliveries that a process span covers: one, or one a link if it covers a batch.
pub(super) fn deliveries(span: &SpanRecord) -> Vec<Delivery> {
    if span.attributes.contains_key(names::BATCH) {
        let of =
            |link: &super::LinkRecord| Delivery::new(&[&link.attributes, &span.attributes], Some(link.to));
        return span.links.iter().map(of).collect();
    }
    let creation = span.links.first().map(|link| link.to).or(span.parent);
    vec![Delivery::new(&[&span.attributes], creation)]
}

/// How many messages a process span covers.
pub(super) fn messages(span: &SpanRecord) -> usize {
    let batch = span.attributes.get(names::BATCH).and_then(Value::as_u64);
    batch.map_or(1, |n| usize::try_from(n).unwrap_or(usize::MAX))
}

/// Whether this is a span of the operation `send`.
pub(super) fn is_send(span: &SpanRecord) -> bool {
    match span.text(names::OPERATION) {
        Some(operation) => operation == "send",
        None => span.kind == Kind::Producer,
    }
}

/// The number of the try that this span covers, if it is a second or later one.
pub(super) fn attempt(span: &SpanRecord) -> Option<u64> {
    let number = span.attributes.get(names::ATTEMPT)?;
    (span.kind == Kind::Internal).then(|| number.as_u64().unwrap_or(0))
}

impl Delivery {
    fn new(attributes: &[&BTreeMap<String, Value>], creation: Option<SpanRef>) -> Self {
        let destination = find(attributes, |name| name == names::DESTINATION).unwrap_or_default();
        let made_by = creation.map(|creation| Place::MadeBy { destination, creation });
        let reader = find(attributes, |name| name == names::GROUP)
            .or_else(|| find(attributes, |name| name == names::SUBSCRIPTION));
        let number = find(attributes, |name| names::DELIVERY_SUFFIXES.iter().any(|end| name.ends_with(end)));
        let place = Place::all(attributes).into_iter().next().or(made_by);
        Delivery { identity: place.map(|place| Identity { place, reader, number }), creation }
    }
}

fn find(attributes: &[&BTreeMap<String, Value>], is_it: impl Fn(&str) -> bool) -> Option<String> {
    attributes
        .iter()
        .find_map(|of| of.iter().find(|(name, _)| is_it(name)).and_then(|(_, value)| text(value)))
}
