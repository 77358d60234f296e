//! `Telemetry`: an SDK set up so that traces reach their backend, and losses are counted.

mod admission;
mod builder;
mod env;
mod meters;
#[cfg(feature = "otlp")]
mod otlp;
mod wait;

pub use builder::TelemetryBuilder;

use crate::{
    Metrics, MirrorLayer, Propagation, Relation, Spans, TracingLayer, WorkerFigures, metrics::Hearing,
    spans::scope, tracing::SDK_LINKS,
};
use admission::Gauge;
use meters::Meters;
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::{
    error::{OTelSdkError, OTelSdkResult},
    metrics::SdkMeterProvider,
    trace::SdkTracerProvider,
};
use std::{
    fmt,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use throughline_core::{Destination, Error, ErrorKind, Observer};

/// A set-up of OpenTelemetry, or none. A clone is one reference count.
///
/// ```
/// use opentelemetry_sdk::trace::InMemorySpanExporter;
/// use std::time::Duration;
/// use throughline_trace::Telemetry;
///
/// # fn main() -> Result<(), throughline_core::Error> {
/// let exporter = InMemorySpanExporter::default();
/// let telemetry = Telemetry::builder("example").exporter(exporter.clone()).global(false).build()?;
/// let layer = telemetry.tracing_layer();
/// telemetry.flush(Duration::from_secs(5))?;
/// assert_eq!(telemetry.dropped(), 0);
/// # drop(layer);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Telemetry(Option<Arc<Inner>>);

struct Inner {
    provider: Option<SdkTracerProvider>,
    spans: Option<Spans>,
    meters: Option<Meters>,
    commit_spans: bool,
    relation: Relation,
    follow_links: bool,
    propagation: Propagation,
    max_links: usize,
    gauge: Arc<Gauge>,
    /// Set by `shutdown`: there is nothing to flush then, and the SDK would call it an error.
    ended: AtomicBool,
}

impl Telemetry {
    /// As the environment says: `OTEL_SDK_DISABLED`, `OTEL_SERVICE_NAME` (else `service_name`),
    /// `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_EXPORTER` and `OTEL_METRICS_EXPORTER` (`otlp`, the default, or
    /// `none`), `OTEL_EXPORTER_OTLP_*`, `OTEL_METRIC_EXPORT_INTERVAL`, `OTEL_TRACES_SAMPLER`, `OTEL_PROPAGATORS`,
    /// `OTEL_BSP_*`, `OTEL_SPAN_*_LIMIT`, and `THROUGHLINE_RELATION` (`link` or `parent-and-link`).
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) for a value that is unknown or malformed, and without the cargo feature `otlp`
    /// unless the traces' exporter is `none`; metrics are then only exported if the environment asks for it, which is
    /// the same error.
    pub fn from_env(service_name: &str) -> Result<Self, Error> {
        env::telemetry(service_name)
    }

    /// To be set up in the program. What is not said comes from the environment, as in [`from_env`](Self::from_env);
    /// the exporter does not.
    pub fn builder(service_name: impl Into<String>) -> TelemetryBuilder {
        TelemetryBuilder::new(service_name.into())
    }

    /// No spans and no metrics; contexts pass through.
    pub const fn off() -> Self {
        Telemetry(None)
    }

    /// Around a provider that was set up elsewhere. What it drops is not known here, its sampler is taken not to
    /// follow links, and there are no metrics.
    pub fn from_provider(provider: SdkTracerProvider) -> Self {
        let spans = provider.tracer_with_scope(scope()).into();
        Telemetry(Some(Arc::new(Inner {
            provider: Some(provider),
            spans: Some(spans),
            meters: None,
            commit_spans: false,
            relation: Relation::default(),
            follow_links: false,
            propagation: Propagation::installed(),
            max_links: SDK_LINKS,
            gauge: Gauge::none(),
            ended: AtomicBool::new(false),
        })))
    }

    /// Where spans are started; `None` if there is no SDK.
    pub fn spans(&self) -> Option<Spans> {
        self.0.as_ref().and_then(|inner| inner.spans.clone())
    }

    /// What is counted and measured; `None` if nothing exports it.
    pub fn metrics(&self) -> Option<Metrics> {
        self.meters().map(|meters| meters.metrics.clone())
    }

    /// The formats on the wire.
    pub fn propagation(&self) -> Propagation {
        self.0.as_ref().map_or_else(Propagation::installed, |inner| inner.propagation.clone())
    }

    /// The relation that was configured.
    pub fn relation(&self) -> Relation {
        self.0.as_ref().map(|inner| inner.relation).unwrap_or_default()
    }

    /// A layer with all of this configured.
    pub fn tracing_layer(&self) -> TracingLayer {
        match &self.0 {
            None => TracingLayer::passthrough(),
            Some(inner) => TracingLayer::build(inner.spans.clone())
                .metrics(self.metrics())
                .relation(inner.relation)
                .follow_links(inner.follow_links)
                .max_links(inner.max_links)
                .propagation(inner.propagation.clone()),
        }
    }

    /// A layer for what is sent to this destination, with this telemetry in place of the process's own.
    pub fn mirror_layer(&self, destination: Arc<Destination>) -> MirrorLayer {
        let layer = MirrorLayer::new(destination);
        match &self.0 {
            None => layer,
            Some(inner) => {
                layer.source(inner.spans.clone(), inner.propagation.clone()).metrics(self.metrics())
            }
        }
    }

    /// What turns a source's events into spans and metrics: settlements, lag, skipped offsets. One for each source.
    pub fn observer(&self) -> Option<Observer> {
        let inner = self.0.as_ref()?;
        let metrics = inner.meters.as_ref().map(|meters| (meters.metrics.clone(), &*meters.registry));
        Some(Arc::new(Hearing::new(inner.spans.clone(), metrics, inner.commit_spans)))
    }

    /// Asks for a worker's figures whenever metrics are collected, until the answer is `None`. Workers of one name are
    /// added up.
    pub fn watch(
        &self,
        worker: impl Into<String>,
        figures: impl Fn() -> Option<WorkerFigures> + Send + Sync + 'static,
    ) {
        if let Some(meters) = self.meters() {
            meters.watch(worker.into(), figures);
        }
    }

    /// How many spans never reached the backend: the queue was full, or their export failed.
    pub fn dropped(&self) -> u64 {
        self.0.as_ref().map_or(0, |inner| inner.gauge.dropped())
    }

    /// How many spans were handed to the exporter and accepted by it.
    pub fn exported(&self) -> u64 {
        self.0.as_ref().map_or(0, |inner| inner.gauge.exported())
    }

    /// How many spans wait for the exporter.
    pub fn queued(&self) -> usize {
        self.0.as_ref().map_or(0, |inner| inner.gauge.queued())
    }

    /// Whether a worker may take more messages. Always yes, unless the lossless setting is on and the queue is more
    /// than three quarters full; and even then no longer than 60 s without a span leaving it: telemetry never stops
    /// the work for good.
    #[inline]
    pub fn intake_open(&self) -> bool {
        self.0.as_ref().is_none_or(|inner| inner.gauge.intake_open())
    }

    /// Exports what has ended and what was measured, within this time. The work is done on threads of its own, and this
    /// thread **blocks**: in async code use [`flushed`](Self::flushed). After a [`shutdown`](Self::shutdown) it does
    /// nothing.
    ///
    /// # Errors
    /// [`Timeout`](ErrorKind::Timeout), or what the spans' exporter reports. Metrics that a backend does not take are
    /// a log line, since many backends of traces take none.
    pub fn flush(&self, within: Duration) -> Result<(), Error> {
        let Some(inner) = self.0.as_ref().filter(|inner| !inner.ended.load(Ordering::Acquire)) else {
            return Ok(());
        };
        inner.export("flush", within, |spans, _| spans.force_flush(), |meters| meters.force_flush())
    }

    /// As [`flush`](Self::flush), and ends the telemetry; in async code use [`finished`](Self::finished). A second
    /// shutdown does nothing.
    ///
    /// # Errors
    /// As `flush`.
    pub fn shutdown(&self, within: Duration) -> Result<(), Error> {
        let Some(inner) = &self.0 else { return Ok(()) };
        inner.ended.store(true, Ordering::Release);
        inner.export(
            "shutdown",
            within,
            |spans, within| spans.shutdown_with_timeout(within),
            |meters| meters.shutdown(),
        )
    }

    /// [`flush`](Self::flush) for async code: needs no runtime and blocks none, so an exporter that works on the
    /// caller's own current-thread runtime gets its turn.
    ///
    /// # Errors
    /// As `flush`.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the report; the flush goes on.
    pub fn flushed(&self, within: Duration) -> impl Future<Output = Result<(), Error>> + Send + use<> {
        let this = self.clone();
        wait::off_thread(move || this.flush(within))
    }

    /// [`shutdown`](Self::shutdown) for async code.
    ///
    /// # Errors
    /// As `shutdown`.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the report; the shutdown goes on.
    pub fn finished(&self, within: Duration) -> impl Future<Output = Result<(), Error>> + Send + use<> {
        let this = self.clone();
        wait::off_thread(move || this.shutdown(within))
    }

    fn meters(&self) -> Option<&Meters> {
        self.0.as_ref().and_then(|inner| inner.meters.as_ref())
    }
}

impl Inner {
    /// Spans first: what their export drops is counted by a metric. They leave the metrics a quarter of the time.
    fn export(
        &self,
        what: &str,
        within: Duration,
        spans: fn(&SdkTracerProvider, Duration) -> OTelSdkResult,
        meters: fn(&SdkMeterProvider) -> OTelSdkResult,
    ) -> Result<(), Error> {
        let deadline = Instant::now() + within;
        let first = if self.meters.is_some() { within / 4 * 3 } else { within };
        let result = self
            .provider
            .clone()
            .map_or(Ok(()), |provider| outcome(what, wait::blocking(first, move || spans(&provider, first))));
        if let Some(all) = &self.meters {
            all.export(what, deadline.saturating_duration_since(Instant::now()), meters);
        }
        result
    }
}

fn outcome(what: &str, result: Option<OTelSdkResult>) -> Result<(), Error> {
    let resource = || format!("telemetry {what}");
    match result {
        Some(Ok(()) | Err(OTelSdkError::AlreadyShutdown)) => Ok(()),
        None | Some(Err(OTelSdkError::Timeout(_))) => {
            Err(Error::new(ErrorKind::Timeout, resource(), "see whether the exporter's endpoint answers"))
        }
        Some(Err(error)) => {
            let remedy = "see whether the exporter's endpoint answers";
            Err(Error::new(ErrorKind::Broker, resource(), remedy).with_source(error))
        }
    }
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(inner) = &self.0 else { return f.write_str("Telemetry(off)") };
        f.debug_struct("Telemetry")
            .field("spans", &inner.spans.is_some())
            .field("metrics", &inner.meters.is_some())
            .field("relation", &inner.relation)
            .field("follow_links", &inner.follow_links)
            .field("propagation", &inner.propagation)
            .field("queued", &self.queued())
            .field("dropped", &self.dropped())
            .finish_non_exhaustive()
    }
}
