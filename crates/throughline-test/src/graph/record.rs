//! A span as it was exported, in a form that can be written to a file.

use super::names;
use opentelemetry::{
    KeyValue, SpanId, TraceId, Value,
    trace::{SpanContext, SpanKind, Status},
};
use opentelemetry_sdk::trace::SpanData;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::{
    collections::BTreeMap,
    fmt,
    str::FromStr,
    time::{Duration, SystemTime},
};

/// The identity of a span: trace id and span id. Written as `<32 hex digits>-<16 hex digits>`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanRef {
    /// The trace id.
    pub trace: u128,
    /// The span id.
    pub span: u64,
}

/// One exported span.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SpanRecord {
    /// Its identity.
    pub id: SpanRef,
    /// Its parent, in the trace that the span itself claims; `None` for a root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<SpanRef>,
    /// Whether the parent came over the wire.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub parent_is_remote: bool,
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// When it began, in nanoseconds since 1970.
    pub start: u64,
    /// When it ended, in nanoseconds since 1970.
    pub end: u64,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Outcome::is_unset")]
    pub status: Outcome,
    /// Its attributes, types kept: the string `"3"` is not the number `3`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, serde_json::Value>,
    /// Its links, in the order they were given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<LinkRecord>,
    /// Links that the SDK dropped because of its limit.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dropped_links: u32,
    /// The low byte of the W3C flags.
    pub flags: u8,
    /// Its `tracestate`, as it would be written.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tracestate: String,
    /// The name of the instrumentation scope.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub scope: String,
}

/// One link of a span.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LinkRecord {
    /// What it points at.
    pub to: SpanRef,
    /// Its attributes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, serde_json::Value>,
}

/// The kind of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Kind {
    /// A request out, or one settlement.
    Client,
    /// A request in.
    Server,
    /// A message out.
    Producer,
    /// A message in: the processing of a delivery.
    Consumer,
    /// Anything inside.
    Internal,
}

/// How a span ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Nothing was said, which is what success looks like.
    #[default]
    Unset,
    /// Success, said by the application.
    Ok,
    /// Failure, with its description.
    Error(String),
}

impl SpanRecord {
    /// An attribute as text; numbers are written out.
    pub fn text(&self, name: &str) -> Option<String> {
        self.attributes.get(name).and_then(text)
    }

    /// Whether it is over answers to a broker. How many of those it takes is the broker's business, and one over several
    /// messages ties together what is apart.
    pub fn is_settle(&self) -> bool {
        self.text(names::OPERATION).is_some_and(|operation| operation == "settle")
    }

    /// How long it took.
    pub fn duration(&self) -> Duration {
        Duration::from_nanos(self.end.saturating_sub(self.start))
    }
}

impl Outcome {
    /// Whether nothing was said.
    pub fn is_unset(&self) -> bool {
        *self == Outcome::Unset
    }
}

pub(crate) fn text(value: &serde_json::Value) -> Option<String> {
    match value {
        serde_json::Value::Null => None,
        serde_json::Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

// === impl SpanRef ===

impl SpanRef {
    /// Of these ids.
    pub fn new(trace: TraceId, span: SpanId) -> Self {
        SpanRef { trace: u128::from_be_bytes(trace.to_bytes()), span: u64::from_be_bytes(span.to_bytes()) }
    }

    /// Whether neither id is zero.
    pub fn is_valid(&self) -> bool {
        self.trace != 0 && self.span != 0
    }
}

impl From<&SpanContext> for SpanRef {
    fn from(context: &SpanContext) -> Self {
        SpanRef::new(context.trace_id(), context.span_id())
    }
}

impl fmt::Display for SpanRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}-{:016x}", self.trace, self.span)
    }
}

impl fmt::Debug for SpanRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for SpanRef {
    type Err = std::num::ParseIntError;

    /// Reads what `Display` writes.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (trace, span) = text.split_once('-').unwrap_or((text, ""));
        Ok(SpanRef { trace: u128::from_str_radix(trace, 16)?, span: u64::from_str_radix(span, 16)? })
    }
}

impl Serialize for SpanRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SpanRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

// === impl From<SpanData> ===

impl From<SpanData> for SpanRecord {
    fn from(span: SpanData) -> Self {
        let id = SpanRef::from(&span.span_context);
        let parent = SpanRef::new(span.span_context.trace_id(), span.parent_span_id);
        let links = span.links.iter().map(|link| LinkRecord {
            to: SpanRef::from(&link.span_context),
            attributes: attributes(&link.attributes),
        });
        SpanRecord {
            id,
            parent: (span.parent_span_id != SpanId::INVALID).then_some(parent),
            parent_is_remote: span.parent_span_is_remote,
            kind: Kind::from(&span.span_kind),
            name: span.name.to_string(),
            start: nanos(span.start_time),
            end: nanos(span.end_time),
            status: Outcome::from(&span.status),
            attributes: attributes(&span.attributes),
            links: links.collect(),
            dropped_links: span.links.dropped_count,
            flags: span.span_context.trace_flags().to_u8(),
            tracestate: span.span_context.trace_state().header(),
            scope: span.instrumentation_scope.name().to_owned(),
        }
    }
}

impl From<&SpanKind> for Kind {
    fn from(kind: &SpanKind) -> Self {
        match kind {
            SpanKind::Client => Kind::Client,
            SpanKind::Server => Kind::Server,
            SpanKind::Producer => Kind::Producer,
            SpanKind::Consumer => Kind::Consumer,
            SpanKind::Internal => Kind::Internal,
        }
    }
}

impl From<&Status> for Outcome {
    fn from(status: &Status) -> Self {
        match status {
            Status::Unset => Outcome::Unset,
            Status::Ok => Outcome::Ok,
            Status::Error { description } => Outcome::Error(description.to_string()),
        }
    }
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn attributes(pairs: &[KeyValue]) -> BTreeMap<String, serde_json::Value> {
    pairs.iter().map(|pair| (pair.key.to_string(), json(&pair.value))).collect()
}

fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::Bool(value) => (*value).into(),
        Value::I64(value) => (*value).into(),
        Value::F64(value) => (*value).into(),
        Value::String(value) => value.as_str().into(),
        other => other.to_string().into(),
    }
}
