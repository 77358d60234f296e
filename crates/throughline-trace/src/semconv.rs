//! Every attribute name that we emit. The messaging ones are those of the semantic conventions 1.44.0 (Development).
//!
//! Names in `throughline.` are our own: what the conventions have no word for.

/// The schema of the names, for tracer and meter.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.44.0";

/// `messaging.system`
pub const SYSTEM: &str = "messaging.system";
/// `messaging.operation.name`
pub const OPERATION_NAME: &str = "messaging.operation.name";
/// `messaging.operation.type`
pub const OPERATION_TYPE: &str = "messaging.operation.type";
/// `messaging.destination.name`
pub const DESTINATION_NAME: &str = "messaging.destination.name";
/// `messaging.destination.template`
pub const DESTINATION_TEMPLATE: &str = "messaging.destination.template";
/// `messaging.destination.partition.id`, a string
pub const PARTITION_ID: &str = "messaging.destination.partition.id";
/// `messaging.destination.subscription.name`
pub const SUBSCRIPTION_NAME: &str = "messaging.destination.subscription.name";
/// `messaging.consumer.group.name`
pub const CONSUMER_GROUP: &str = "messaging.consumer.group.name";
/// `messaging.client.id`
pub const CLIENT_ID: &str = "messaging.client.id";
/// `messaging.message.id`
pub const MESSAGE_ID: &str = "messaging.message.id";
/// `messaging.kafka.offset`, an integer
pub const KAFKA_OFFSET: &str = "messaging.kafka.offset";
/// `messaging.kafka.message.key`
pub const KAFKA_KEY: &str = "messaging.kafka.message.key";
/// `messaging.kafka.message.tombstone`, only if true
pub const KAFKA_TOMBSTONE: &str = "messaging.kafka.message.tombstone";
/// `messaging.gcp_pubsub.message.ordering_key`
pub const PUBSUB_ORDERING_KEY: &str = "messaging.gcp_pubsub.message.ordering_key";
/// `messaging.gcp_pubsub.message.delivery_attempt`
pub const PUBSUB_DELIVERY_ATTEMPT: &str = "messaging.gcp_pubsub.message.delivery_attempt";
/// `server.address`
pub const SERVER_ADDRESS: &str = "server.address";
/// `server.port`
pub const SERVER_PORT: &str = "server.port";
/// `error.type`
pub const ERROR_TYPE: &str = "error.type";

/// A context came with the message and was malformed: the span is a new root because of it.
pub const CONTEXT_INVALID: &str = "throughline.context.invalid";
/// The number of a try, from 2.
pub const ATTEMPT: &str = "throughline.attempt";
/// What a try failed with that did not surface, because another one followed.
pub const ATTEMPT_ERROR: &str = "throughline.attempt.error";
/// How often the message was delivered, if more than once, for systems that have no name of their own for it.
pub const DELIVERY_COUNT: &str = "throughline.delivery.count";
/// The offset, for systems that have no name of their own for it.
pub const OFFSET: &str = "throughline.offset";

/// Values of `messaging.system` that have names of their own.
pub(crate) const KAFKA: &str = "kafka";
pub(crate) const PUBSUB: &str = "gcp_pubsub";
