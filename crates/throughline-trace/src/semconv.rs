//! Every attribute and metric name that we emit. The messaging ones are those of the semantic conventions 1.44.0 (Development).
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
/// `aws.sqs.queue.url`
pub const SQS_QUEUE_URL: &str = "aws.sqs.queue.url";
/// `aws.request_id`
pub const AWS_REQUEST_ID: &str = "aws.request_id";
/// `messaging.batch.message_count`
pub const BATCH_COUNT: &str = "messaging.batch.message_count";
/// `server.address`
pub const SERVER_ADDRESS: &str = "server.address";
/// `server.port`
pub const SERVER_PORT: &str = "server.port";
/// `error.type`
pub const ERROR_TYPE: &str = "error.type";

/// `messaging.client.operation.duration`, a histogram in seconds
pub const OPERATION_DURATION: &str = "messaging.client.operation.duration";
/// `messaging.process.duration`, a histogram in seconds
pub const PROCESS_DURATION: &str = "messaging.process.duration";
/// `messaging.client.sent.messages`, a counter
pub const SENT_MESSAGES: &str = "messaging.client.sent.messages";
/// `messaging.client.consumed.messages`, a counter
pub const CONSUMED_MESSAGES: &str = "messaging.client.consumed.messages";
/// The buckets of both durations, in seconds.
pub const DURATION_BUCKETS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// How long a message lay in the broker before its processing began: a histogram in seconds.
pub const TIME_IN_QUEUE: &str = "throughline.message.time_in_queue";
/// The buckets of the time in queue, in seconds: those of the durations, and up to a day.
pub const QUEUE_BUCKETS: [f64; 21] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0, 300.0,
    1800.0, 3600.0, 21_600.0, 86_400.0,
];
/// Tries after the first within one delivery: a counter.
pub const RETRIES: &str = "throughline.message.retries";
/// Handlers that run.
pub const IN_FLIGHT: &str = "throughline.worker.in_flight";
/// Messages that wait in a worker, those among them that are to be tried again.
pub const WAITING: &str = "throughline.worker.waiting";
/// Starts of a worker after its first: a counter.
pub const RESTARTS: &str = "throughline.worker.restarts";
/// Messages that the dead letters accepted: a counter.
pub const DEAD_LETTERS: &str = "throughline.worker.dead_letters";
/// Messages that were dropped because the user said so: a counter.
pub const DISCARDED: &str = "throughline.worker.discarded";
/// Deliveries that were no longer ours when they were settled, or before: a counter.
pub const LEASES_LOST: &str = "throughline.worker.leases_lost";
/// How far a consumer is behind the end of a partition: a gauge, in messages.
pub const LAG: &str = "throughline.consumer.lag";
/// Offsets that were passed over without a delivery: a counter.
pub const SKIPPED: &str = "throughline.consumer.skipped";
/// Spans that never reached their backend: a counter.
pub const SPANS_DROPPED: &str = "throughline.telemetry.spans_dropped";

/// The worker's name, on what is counted for a worker.
pub const WORKER: &str = "throughline.worker";
/// Only if true: a message's time was ahead of the clock, so its time in the queue counts as 0.
pub const CLOCK_SKEWED: &str = "throughline.clock.skewed";
/// A context came with the message and was malformed: the span is a new root because of it.
pub const CONTEXT_INVALID: &str = "throughline.context.invalid";
/// How many messages of a batch have a context that the span has no link to, because of the limit on links.
pub const LINKS_DROPPED: &str = "throughline.links.dropped";
/// Where a context came from that was not in the headers (`sns`, `eventbridge`, `xray`), on the link to it.
pub const CONTEXT_PLACE: &str = "throughline.context.place";
/// Only if true: nobody of ours wrote the context, so that its sampling decides nothing; on the link to it.
pub const CONTEXT_UNDECIDED: &str = "throughline.context.undecided";
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
pub(crate) const SQS: &str = "aws_sqs";
pub(crate) const PUBSUB: &str = "gcp_pubsub";
