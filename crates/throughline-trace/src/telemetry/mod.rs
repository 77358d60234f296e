//! `Telemetry`: an SDK set up so that traces reach their backend, and losses are counted.

mod admission;
mod builder;
mod env;
#[cfg(feature = "otlp")]
mod otlp;
mod wait;

pub use builder::TelemetryBuilder;

use crate::{MirrorLayer, Propagation, Relation, Spans, TracingLayer, spans::scope};
use admission::Gauge;
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::{
    error::{OTelSdkError, OTelSdkResult},
    trace::SdkTracerProvider,
};
use std::{
    fmt,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use throughline_core::{Destination, Error, ErrorKind};

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
    provider: SdkTracerProvider,
    spans: Spans,
    relation: Relation,
    follow_links: bool,
    propagation: Propagation,
    gauge: Arc<Gauge>,
    /// Set by `shutdown`: there is nothing to flush then, and the SDK would call it an error.
    ended: AtomicBool,
}

impl Telemetry {
    /// As the environment says: `OTEL_SDK_DISABLED`, `OTEL_SERVICE_NAME` (else `service_name`),
    /// `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_EXPORTER` (`otlp`, the default, or `none`), `OTEL_EXPORTER_OTLP_*`,
    /// `OTEL_TRACES_SAMPLER`, `OTEL_PROPAGATORS`, `OTEL_BSP_*`, `OTEL_SPAN_*_LIMIT`, and `THROUGHLINE_RELATION`
    /// (`link` or `parent-and-link`).
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) for a value that is unknown or malformed, and without the cargo feature `otlp`
    /// unless the exporter is `none`.
    pub fn from_env(service_name: &str) -> Result<Self, Error> {
        env::telemetry(service_name)
    }

    /// To be set up in the program. What is not said comes from the environment, as in [`from_env`](Self::from_env);
    /// the exporter does not.
    pub fn builder(service_name: impl Into<String>) -> TelemetryBuilder {
        TelemetryBuilder::new(service_name.into())
    }

    /// No spans; contexts pass through.
    pub const fn off() -> Self {
        Telemetry(None)
    }

    /// Around a provider that was set up elsewhere. What it drops is not known here, and its sampler is taken not to
    /// follow links.
    pub fn from_provider(provider: SdkTracerProvider) -> Self {
        let spans = provider.tracer_with_scope(scope()).into();
        Telemetry(Some(Arc::new(Inner {
            provider,
            spans,
            relation: Relation::default(),
            follow_links: false,
            propagation: Propagation::installed(),
            gauge: Gauge::none(),
            ended: AtomicBool::new(false),
        })))
    }

    /// Where spans are started; `None` if there is no SDK.
    pub fn spans(&self) -> Option<Spans> {
        self.0.as_ref().map(|inner| inner.spans.clone())
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
            Some(inner) => TracingLayer::build(Some(inner.spans.clone()))
                .relation(inner.relation)
                .follow_links(inner.follow_links)
                .propagation(inner.propagation.clone()),
        }
    }

    /// A layer for what is sent to this destination, with this telemetry in place of the process's own.
    pub fn mirror_layer(&self, destination: Arc<Destination>) -> MirrorLayer {
        let layer = MirrorLayer::new(destination);
        match &self.0 {
            None => layer,
            Some(inner) => layer.spans_with(inner.spans.clone(), inner.propagation.clone()),
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

    /// Exports what has ended, within this time. The work is done on a thread of its own, and this thread **blocks**:
    /// in async code use [`flushed`](Self::flushed). After a [`shutdown`](Self::shutdown) it does nothing.
    ///
    /// # Errors
    /// [`Timeout`](ErrorKind::Timeout), or what the exporter reports.
    pub fn flush(&self, within: Duration) -> Result<(), Error> {
        let Some(provider) = self.provider().filter(|_| !self.has_ended()) else { return Ok(()) };
        outcome("flush", wait::blocking(within, move || provider.force_flush()))
    }

    /// Exports what has ended and ends the telemetry, within this time. The work is done on a thread of its own, and
    /// this thread **blocks**: in async code use [`finished`](Self::finished). A second shutdown does nothing.
    ///
    /// # Errors
    /// [`Timeout`](ErrorKind::Timeout), or what the exporter reports.
    pub fn shutdown(&self, within: Duration) -> Result<(), Error> {
        let Some(provider) = self.provider() else { return Ok(()) };
        if let Some(inner) = &self.0 {
            inner.ended.store(true, Ordering::Release);
        }
        outcome("shutdown", wait::blocking(within, move || provider.shutdown_with_timeout(within)))
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

    fn has_ended(&self) -> bool {
        self.0.as_ref().is_some_and(|inner| inner.ended.load(Ordering::Acquire))
    }

    fn provider(&self) -> Option<SdkTracerProvider> {
        self.0.as_ref().map(|inner| inner.provider.clone())
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
            .field("relation", &inner.relation)
            .field("follow_links", &inner.follow_links)
            .field("propagation", &inner.propagation)
            .field("queued", &self.queued())
            .field("dropped", &self.dropped())
            .finish_non_exhaustive()
    }
}
