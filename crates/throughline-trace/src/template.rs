//! What is the same for every span of one destination, prepared once.

use crate::{intern::intern, semconv as key};
use opentelemetry::{
    KeyValue, StringValue, Value,
    trace::{Link, SpanBuilder, SpanKind},
};
use std::{
    borrow::Cow,
    sync::{Arc, OnceLock},
};
use throughline_core::{ByteString, Destination, Origin, Receipt};

/// Keys are cut to this many bytes, at a character boundary.
const MAX_KEY: usize = 256;

/// Span name and attributes of one operation on one destination.
pub(crate) struct Template {
    destination: Option<Arc<Destination>>,
    system: System,
    name: Cow<'static, str>,
    attempt_name: Cow<'static, str>,
    prefix: Vec<Fixed>,
}

/// An attribute that each span of a destination has.
struct Fixed {
    name: &'static str,
    value: FixedValue,
}

/// Static where it can be. A counted text is counted by the thread that starts a span and by the one that exports it;
/// and the clone of a `Key` or a `Value` is written in halves and read as a whole, for which a processor stops.
enum FixedValue {
    Text(&'static str),
    Other(Value),
}

/// Whose names apply to what differs from message to message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum System {
    Kafka,
    PubSub,
    Sqs,
    Other,
}

impl Template {
    /// `operation` is the name; without one it is that of the conventions for the system.
    pub(crate) fn new(
        operation: Option<&'static str>,
        operation_type: &'static str,
        destination: Option<Arc<Destination>>,
    ) -> Self {
        let system = match destination.as_ref().map(|d| &*d.system) {
            Some(key::KAFKA) => System::Kafka,
            Some(key::PUBSUB) => System::PubSub,
            Some(key::SQS) => System::Sqs,
            _ => System::Other,
        };
        let operation = operation.unwrap_or(match (system, operation_type) {
            (System::PubSub, "process") => "subscribe",
            (System::Kafka, "receive") => "poll",
            _ => operation_type,
        });
        let mut prefix = Vec::with_capacity(10);
        let mut name = Cow::Borrowed(operation);
        let mut attempt_name = Cow::Borrowed("attempt");
        if let Some(of) = &destination {
            let low_cardinality = of.template.as_ref().unwrap_or(&of.name);
            name = intern(&format!("{operation} {low_cardinality}"));
            attempt_name = intern(&format!("attempt {low_cardinality}"));
            prefix.extend(attributes_of(of));
        }
        prefix.push((key::OPERATION_NAME, operation.into()));
        prefix.push((key::OPERATION_TYPE, operation_type.into()));
        let prefix = prefix.into_iter().map(Fixed::new).collect();
        Template { destination, system, name, attempt_name, prefix }
    }

    #[inline]
    pub(crate) fn is_for(&self, destination: Option<&Arc<Destination>>) -> bool {
        match (&self.destination, destination) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        }
    }

    /// A span of the operation, with room for a few attributes more.
    #[inline]
    pub(crate) fn builder(&self, kind: SpanKind, links: Vec<Link>) -> SpanBuilder {
        let mut attributes = Vec::with_capacity(self.prefix.len() + 6);
        self.prefix.iter().for_each(|fixed| fixed.copy_to(&mut attributes));
        let mut builder = SpanBuilder::from_name(self.name.clone()).with_kind(kind);
        builder.attributes = Some(attributes);
        builder.links = (!links.is_empty()).then_some(links);
        builder
    }

    /// A further try of it. Without operation attributes: there is one process span a delivery.
    pub(crate) fn attempt(&self, number: u32, before: Link) -> SpanBuilder {
        let no_operation = |fixed: &&Fixed| ![key::OPERATION_NAME, key::OPERATION_TYPE].contains(&fixed.name);
        let mut attributes = Vec::with_capacity(self.prefix.len());
        attributes.push(KeyValue::new(key::ATTEMPT, i64::from(number)));
        self.prefix.iter().filter(no_operation).for_each(|fixed| fixed.copy_to(&mut attributes));
        let mut builder = SpanBuilder::from_name(self.attempt_name.clone()).with_kind(SpanKind::Internal);
        builder.attributes = Some(attributes);
        builder.links = Some(vec![before]);
        builder
    }

    /// What a metric of it says: without what only multiplies the series.
    pub(crate) fn of_metrics(&self, with_type: bool) -> Vec<KeyValue> {
        let mut attributes = self.destination.as_deref().map(of_metrics).unwrap_or_default();
        let operation = |fixed: &&Fixed| match fixed.name {
            key::OPERATION_NAME => true,
            key::OPERATION_TYPE => with_type,
            _ => false,
        };
        self.prefix.iter().filter(operation).for_each(|fixed| fixed.copy_to(&mut attributes));
        attributes
    }

    /// What the broker said of one message.
    #[inline]
    pub(crate) fn origin(&self, origin: &Origin, attributes: &mut Vec<KeyValue>) {
        self.partition(origin, attributes);
        self.identity(origin, attributes);
    }

    /// Where in its destination.
    #[inline]
    pub(crate) fn partition(&self, origin: &Origin, attributes: &mut Vec<KeyValue>) {
        if let Some(partition) = origin.partition {
            push_partition(partition, attributes);
        }
    }

    /// What no other message has.
    #[inline]
    pub(crate) fn identity(&self, origin: &Origin, attributes: &mut Vec<KeyValue>) {
        if let Some(offset) = origin.offset {
            attributes.push(KeyValue::new(self.offset_name(), offset));
        }
        if let Some(id) = &origin.id {
            attributes.push(KeyValue::new(key::MESSAGE_ID, shared(id)));
        }
        if origin.delivery_count > 1 {
            let name = if self.system == System::PubSub {
                key::PUBSUB_DELIVERY_ATTEMPT
            } else {
                key::DELIVERY_COUNT
            };
            attributes.push(KeyValue::new(name, i64::from(origin.delivery_count)));
        }
    }

    /// What the broker said of one message that was sent.
    pub(crate) fn receipt(&self, receipt: &Receipt) -> Vec<KeyValue> {
        let mut attributes = Vec::with_capacity(4);
        if let Some(partition) = receipt.partition {
            push_partition(partition, &mut attributes);
        }
        if let Some(offset) = receipt.offset {
            attributes.push(KeyValue::new(self.offset_name(), offset));
        }
        if let Some(id) = &receipt.id {
            attributes.push(KeyValue::new(key::MESSAGE_ID, shared(id)));
        }
        if let Some(request) = receipt.request.as_deref().filter(|_| self.system == System::Sqs) {
            let known = [(key::AWS_REQUEST_ID, &request.id), (key::SQS_QUEUE_URL, &request.url)];
            let known = known.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
            attributes.extend(known.map(|(name, value)| KeyValue::new(name, shared(value))));
        }
        attributes
    }

    fn offset_name(&self) -> &'static str {
        if self.system == System::Kafka { key::KAFKA_OFFSET } else { key::OFFSET }
    }

    /// The content that systems have attributes for.
    #[inline]
    pub(crate) fn content(
        &self,
        message_key: Option<&[u8]>,
        tombstone: bool,
        attributes: &mut Vec<KeyValue>,
    ) {
        let name = match self.system {
            System::Kafka => key::KAFKA_KEY,
            System::PubSub => key::PUBSUB_ORDERING_KEY,
            System::Sqs | System::Other => return,
        };
        // Binary keys may happen to be UTF-8: control characters tell them from text.
        let text = message_key.and_then(|bytes| std::str::from_utf8(bytes).ok()).map(cut);
        if let Some(text) = text.filter(|text| !text.contains(char::is_control)) {
            attributes.push(KeyValue::new(name, text.to_owned()));
        }
        if tombstone && self.system == System::Kafka {
            attributes.push(KeyValue::new(key::KAFKA_TOMBSTONE, true));
        }
    }
}

impl Fixed {
    fn new((name, value): (&'static str, Value)) -> Self {
        let text = if let Value::String(text) = &value { Some(intern(text.as_str())) } else { None };
        let value = match text {
            Some(Cow::Borrowed(text)) => FixedValue::Text(text),
            _ => FixedValue::Other(value),
        };
        Fixed { name, value }
    }

    // Two ways, so that a text is written in its place and nowhere before.
    #[inline]
    fn copy_to(&self, attributes: &mut Vec<KeyValue>) {
        match &self.value {
            FixedValue::Text(text) => attributes.push(KeyValue::new(self.name, *text)),
            FixedValue::Other(value) => attributes.push(KeyValue::new(self.name, value.clone())),
        }
    }
}

/// What is the same for all that has to do with a destination.
fn attributes_of(of: &Destination) -> Vec<(&'static str, Value)> {
    let mut attributes: Vec<(&'static str, Value)> = Vec::with_capacity(10);
    attributes.push((key::SYSTEM, shared(&of.system).into()));
    attributes.push((key::DESTINATION_NAME, shared(&of.name).into()));
    let mut optional = |name: &'static str, value: &Option<ByteString>| {
        if let Some(value) = value {
            attributes.push((name, shared(value).into()));
        }
    };
    optional(key::DESTINATION_TEMPLATE, &of.template);
    optional(key::CONSUMER_GROUP, &of.group);
    optional(key::SUBSCRIPTION_NAME, &of.subscription);
    optional(key::CLIENT_ID, &of.client_id);
    if of.system == key::SQS {
        optional(key::SQS_QUEUE_URL, &of.url);
    }
    if let Some((host, port)) = &of.server {
        attributes.push((key::SERVER_ADDRESS, shared(host).into()));
        attributes.push((key::SERVER_PORT, i64::from(*port).into()));
    }
    attributes
}

/// Those of them that a metric has: a name is left out where a template stands for many.
pub(crate) fn of_metrics(of: &Destination) -> Vec<KeyValue> {
    let wanted = |name: &str| match name {
        key::CLIENT_ID | key::SQS_QUEUE_URL => false,
        key::DESTINATION_NAME => of.template.is_none(),
        _ => true,
    };
    let attributes = attributes_of(of).into_iter().filter(|(name, _)| wanted(name));
    attributes.map(|(name, value)| KeyValue::new(name, value)).collect()
}

/// Copies attributes, of which nearly all are text: asked for first, since the clone of a `Value` is a call and a jump.
#[inline]
pub(crate) fn copy(attributes: &[KeyValue], to: &mut Vec<KeyValue>) {
    let value = |value: &Value| match value {
        Value::String(text) => Value::String(text.clone()),
        other => other.clone(),
    };
    to.extend(attributes.iter().map(|kv| KeyValue::new(kv.key.clone(), value(&kv.value))));
}

/// As many whole characters as fit.
fn cut(text: &str) -> &str {
    let end = (0..=MAX_KEY.min(text.len())).rev().find(|&at| text.is_char_boundary(at));
    &text[..end.unwrap_or(0)]
}

/// Adds the partition, as the string that the conventions want.
#[inline]
pub(crate) fn push_partition(partition: i32, attributes: &mut Vec<KeyValue>) {
    const PREPARED: usize = 1024;
    static NUMBERS: [OnceLock<Box<str>>; PREPARED] = [const { OnceLock::new() }; PREPARED];
    match usize::try_from(partition).ok().and_then(|at| NUMBERS.get(at)) {
        Some(number) => {
            let number: &'static str = number.get_or_init(|| partition.to_string().into());
            attributes.push(KeyValue::new(key::PARTITION_ID, number));
        }
        None => attributes.push(KeyValue::new(key::PARTITION_ID, partition.to_string())),
    }
}

/// A value whose clones share the text.
fn shared(text: &str) -> StringValue {
    StringValue::from(Arc::<str>::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(attributes: &[KeyValue], name: &str) -> Option<Value> {
        attributes.iter().find(|kv| kv.key.as_str() == name).map(|kv| kv.value.clone())
    }

    #[test]
    fn a_kafka_destination_has_the_names_of_the_conventions() {
        let mut of = Destination::new("kafka", "orders");
        of.group = Some("billing".into());
        of.server = Some(("broker".into(), 9092));
        of.client_id = Some("me".into());
        let template = Template::new(None, "process", Some(Arc::new(of)));
        let builder = template.builder(SpanKind::Consumer, Vec::new());
        assert_eq!(builder.name, "process orders");
        let mut attributes = builder.attributes.unwrap();
        let mut origin = Origin::new(Arc::new(Destination::new("kafka", "orders")));
        (origin.partition, origin.offset, origin.delivery_count) = (Some(3), Some(7), 2);
        template.origin(&origin, &mut attributes);
        template.content(Some("ä".repeat(200).as_bytes()), true, &mut attributes);
        let of = |name| value(&attributes, name);
        assert_eq!(of("messaging.system"), Some("kafka".into()));
        assert_eq!(of("messaging.operation.name"), Some("process".into()));
        assert_eq!(of("messaging.operation.type"), Some("process".into()));
        assert_eq!(of("messaging.destination.name"), Some("orders".into()));
        assert_eq!(of("messaging.consumer.group.name"), Some("billing".into()));
        assert_eq!(of("messaging.client.id"), Some("me".into()));
        assert_eq!(of("server.address"), Some("broker".into()));
        assert_eq!(of("server.port"), Some(9092.into()));
        assert_eq!(of("messaging.destination.partition.id"), Some("3".into()), "a string");
        assert_eq!(of("messaging.kafka.offset"), Some(7.into()), "an integer");
        assert_eq!(of("messaging.kafka.message.key"), Some("ä".repeat(128).into()), "cut between characters");
        assert_eq!(of("messaging.kafka.message.tombstone"), Some(true.into()));
        assert_eq!(of("throughline.delivery.count"), Some(2.into()));
    }

    #[test]
    fn other_systems_get_none_of_kafkas_names() {
        let template = Template::new(None, "process", Some(Arc::new(Destination::new("memory", "orders"))));
        let mut attributes = Vec::new();
        let mut origin = Origin::new(Arc::new(Destination::new("memory", "orders")));
        origin.offset = Some(1);
        template.origin(&origin, &mut attributes);
        template.content(Some(b"key"), true, &mut attributes);
        assert!(attributes.iter().all(|kv| !kv.key.as_str().contains("kafka")), "{attributes:?}");
        let pubsub = Template::new(None, "process", Some(Arc::new(Destination::new("gcp_pubsub", "t"))));
        assert_eq!(pubsub.builder(SpanKind::Consumer, Vec::new()).name, "subscribe t");
        pubsub.content(Some(b"\xff"), true, &mut attributes);
        pubsub.content(Some(b"\0\0\0\0\x2a"), true, &mut attributes);
        assert_eq!(value(&attributes, key::PUBSUB_ORDERING_KEY), None, "not UTF-8, and not text");
    }

    #[test]
    fn a_queue_has_its_url_and_a_send_the_request_that_it_went_by() {
        let mut of = Destination::new("aws_sqs", "q");
        let mut receipt = Receipt::with_id("m");
        let mut request = throughline_core::Request::with_id(Some("r"));
        request.url = Some("https://sqs/1/q".into());
        receipt.request = Some(Arc::new(request));
        let attributes = Template::new(None, "send", Some(Arc::new(of.clone()))).receipt(&receipt);
        assert_eq!(value(&attributes, "aws.request_id"), Some("r".into()));
        assert_eq!(value(&attributes, "aws.sqs.queue.url"), Some("https://sqs/1/q".into()));
        of.url = Some("https://sqs/1/q".into());
        let template = Template::new(None, "process", Some(Arc::new(of)));
        let attributes = template.builder(SpanKind::Consumer, Vec::new()).attributes.unwrap();
        assert_eq!(value(&attributes, "aws.sqs.queue.url"), Some("https://sqs/1/q".into()));
        assert_eq!(value(&template.of_metrics(true), "aws.sqs.queue.url"), None);
    }

    #[test]
    fn the_template_names_the_span() {
        let mut of = Destination::new("kafka", "orders-4711");
        of.template = Some("orders-{id}".into());
        let builder = Template::new(None, "send", Some(Arc::new(of))).builder(SpanKind::Producer, Vec::new());
        assert_eq!(builder.name, "send orders-{id}");
        assert_eq!(value(&builder.attributes.unwrap(), key::DESTINATION_NAME), Some("orders-4711".into()));
    }

    #[test]
    fn partitions_without_a_prepared_string_are_written_too() {
        for partition in [-1, 0, 1023, 1024, i32::MAX] {
            let mut attributes = Vec::new();
            push_partition(partition, &mut attributes);
            assert_eq!(value(&attributes, key::PARTITION_ID), Some(partition.to_string().into()));
        }
    }
}
