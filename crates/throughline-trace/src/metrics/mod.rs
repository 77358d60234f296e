//! `Metrics`: the instruments of messaging, each created once.

mod figures;
mod hearing;
mod lags;
mod measured;

pub(crate) use figures::Registry;
pub use figures::WorkerFigures;
pub(crate) use hearing::Hearing;
pub(crate) use measured::{Measured, Measuring, Operation};

use crate::semconv as key;
use opentelemetry::{
    KeyValue,
    metrics::{Counter, Histogram, Meter},
};
use std::{fmt, sync::Arc};

/// What the layers and the workers count and measure. A clone is one reference count.
///
/// The names of the conventions:
///
/// | metric | what | attributes |
/// |---|---|---|
/// | `messaging.process.duration` | histogram, s: one processing, of a message or a batch | A |
/// | `messaging.client.consumed.messages` | counter, `{message}`: once a delivery, however it ended | A |
/// | `messaging.client.operation.duration` | histogram, s: one send or settlement | A, `messaging.operation.type` |
/// | `messaging.client.sent.messages` | counter, `{message}` | A |
///
/// A: `messaging.system`, `messaging.operation.name`, `messaging.destination.name` (or `.template` where there is one),
/// `messaging.consumer.group.name`, `messaging.destination.subscription.name`, `server.address`, `server.port`, as far
/// as the destination has them, and for what failed `error.type`, the same as on the span. Partitions and client names
/// are left out: they multiply the series, and are on the spans.
///
/// Our own, for what the conventions have no name:
///
/// | metric | what | attributes |
/// |---|---|---|
/// | `throughline.message.time_in_queue` | histogram, s: publish to start of each processing; none without a time. A time that is ahead of the clock counts as 0 and is marked | A, `throughline.clock.skewed` |
/// | `throughline.message.retries` | counter, `{retry}`: tries after the first within a delivery | A |
/// | `throughline.worker.in_flight` | up-down counter, `{message}`: handlers that run | `throughline.worker` |
/// | `throughline.worker.waiting` | up-down counter, `{message}`: in a lane, or to be tried again | `throughline.worker` |
/// | `throughline.worker.restarts` | counter, `{restart}` | `throughline.worker` |
/// | `throughline.worker.dead_letters` | counter, `{message}`: accepted by the dead letters | `throughline.worker` |
/// | `throughline.worker.discarded` | counter, `{message}`: dropped because the user said so | `throughline.worker` |
/// | `throughline.worker.leases_lost` | counter, `{message}`: no longer ours when settled, or before | `throughline.worker` |
/// | `throughline.consumer.lag` | gauge, `{message}`: behind the end of a partition | A but the operation, `messaging.destination.partition.id` |
/// | `throughline.consumer.skipped` | counter, `{offset}`: passed over without a delivery | A but the operation |
/// | `throughline.telemetry.spans_dropped` | counter, `{span}`: never reached their backend | |
///
/// They do not depend on sampling, nor on there being a tracer. The attributes are resolved once for each destination
/// and `error.type`; a measurement then costs a clock and an uncontended lock, and allocates nothing.
///
/// ```
/// use opentelemetry::metrics::MeterProvider;
/// use opentelemetry_sdk::metrics::SdkMeterProvider;
/// use throughline_trace::{Metrics, TracingLayer};
///
/// let provider = SdkMeterProvider::builder().build();
/// let layer = TracingLayer::passthrough().metrics(Metrics::new(&provider.meter("example")));
/// # drop(layer);
/// ```
#[derive(Clone)]
pub struct Metrics(Arc<Instruments>);

struct Instruments {
    process: Histogram<f64>,
    operation: Histogram<f64>,
    consumed: Counter<u64>,
    sent: Counter<u64>,
    in_queue: Histogram<f64>,
    retries: Counter<u64>,
    skipped: Counter<u64>,
}

impl Metrics {
    /// The instruments of this meter. Made once: each call makes them anew.
    pub fn new(meter: &Meter) -> Self {
        let histogram = |name, what, buckets: &[f64]| {
            let builder = meter.f64_histogram(name).with_unit("s").with_description(what);
            builder.with_boundaries(buckets.to_vec()).build()
        };
        let counter =
            |name, unit, what| meter.u64_counter(name).with_unit(unit).with_description(what).build();
        Metrics(Arc::new(Instruments {
            process: histogram(
                key::PROCESS_DURATION,
                "Duration of processing operation.",
                &key::DURATION_BUCKETS,
            ),
            operation: histogram(
                key::OPERATION_DURATION,
                "Duration of messaging operation initiated by a producer or consumer client.",
                &key::DURATION_BUCKETS,
            ),
            consumed: counter(
                key::CONSUMED_MESSAGES,
                "{message}",
                "Number of messages that were delivered to the application.",
            ),
            sent: counter(
                key::SENT_MESSAGES,
                "{message}",
                "Number of messages producer attempted to send to the broker.",
            ),
            in_queue: histogram(
                key::TIME_IN_QUEUE,
                "Time from publishing a message to the start of its processing.",
                &key::QUEUE_BUCKETS,
            ),
            retries: counter(key::RETRIES, "{retry}", "Tries after the first within one delivery."),
            skipped: counter(key::SKIPPED, "{offset}", "Offsets that were passed over without a delivery."),
        }))
    }

    fn skipped(&self, offsets: u64, attributes: &[KeyValue]) {
        self.0.skipped.add(offsets, attributes);
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}
