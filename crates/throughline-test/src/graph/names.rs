//! The attribute names that the checker reads. Written down here once more on purpose: a checker that took them from
//! the code it checks would agree with every mistake.

/// `messaging.operation.type`: `create`, `send`, `receive`, `process` or `settle`.
pub(crate) const OPERATION: &str = "messaging.operation.type";
pub(crate) const DESTINATION: &str = "messaging.destination.name";
pub(crate) const SUBSCRIPTION: &str = "messaging.destination.subscription.name";
pub(crate) const GROUP: &str = "messaging.consumer.group.name";
pub(crate) const PARTITION: &str = "messaging.destination.partition.id";
pub(crate) const MESSAGE_ID: &str = "messaging.message.id";
/// On a span over a batch; what differs between its messages is then on the links.
pub(crate) const BATCH: &str = "messaging.batch.message_count";
/// The end of every name that holds an offset, as in `messaging.kafka.offset`.
pub(crate) const OFFSET_SUFFIX: &str = ".offset";
/// The ends of every name that holds a delivery's number, as in
/// `messaging.gcp_pubsub.message.delivery_attempt`.
pub(crate) const DELIVERY_SUFFIXES: [&str; 2] = [".delivery_attempt", ".delivery.count"];
/// The number of a try by a Retry layer, on INTERNAL spans.
pub(crate) const ATTEMPT: &str = "throughline.attempt";
