//! Export by OTLP over HTTP, behind the cargo feature `otlp`.

use super::{TelemetryBuilder, env};
use opentelemetry_otlp::{ExporterBuildError, MetricExporter, SpanExporter, WithExportConfig};
use std::thread;
use throughline_core::{Error, ErrorKind};

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const TRACES: &str = "/v1/traces";
const METRICS: &str = "/v1/metrics";

impl TelemetryBuilder {
    /// Spans and metrics over OTLP/HTTP to this base URL, for instance `http://127.0.0.1:4318`.
    ///
    /// # Errors
    /// [`Config`](throughline_core::ErrorKind::Config) for a URL that is malformed; some of it is only found by
    /// [`build`](Self::build). A backend that is away is no error: its spans are counted as dropped.
    pub fn otlp(self, endpoint: &str) -> Result<Self, Error> {
        if !["http://", "https://"].iter().any(|scheme| endpoint.starts_with(scheme)) {
            return Err(Error::new(
                ErrorKind::Config,
                endpoint,
                "give a URL such as `http://127.0.0.1:4318`",
            ));
        }
        let base = endpoint.trim_end_matches('/');
        let base = base.strip_suffix(TRACES).unwrap_or(base);
        let (traces, metrics) = (format!("{base}{TRACES}"), format!("{base}{METRICS}"));
        Ok(self
            .exporter_later(|| spans(Some(traces)))
            .metrics_exporter_later(|| self::metrics(Some(metrics))))
    }

    /// Spans to where `OTEL_EXPORTER_OTLP_*` says.
    pub(super) fn spans_from_env(self) -> Result<Self, Error> {
        protocol("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")?;
        Ok(self.exporter_later(|| spans(None)))
    }

    /// Metrics to where `OTEL_EXPORTER_OTLP_*` says.
    pub(super) fn metrics_from_env(self) -> Result<Self, Error> {
        protocol("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL")?;
        Ok(self.metrics_exporter_later(|| metrics(None)))
    }
}

fn protocol(own: &'static str) -> Result<(), Error> {
    let protocol = env::var(own)?.or(env::var("OTEL_EXPORTER_OTLP_PROTOCOL")?);
    match protocol.filter(|protocol| protocol != "http/protobuf") {
        None => Ok(()),
        Some(other) => {
            let remedy = format!(
                "`{other}` is not built in: say `http/protobuf` (port 4318), or give an exporter of your own to \
                 `Telemetry::builder(..).exporter(..)`"
            );
            Err(Error::new(ErrorKind::Config, "OTEL_EXPORTER_OTLP_PROTOCOL", remedy))
        }
    }
}

fn spans(url: Option<String>) -> Result<SpanExporter, Error> {
    let builder = SpanExporter::builder().with_http();
    match url {
        Some(url) => made(&url, builder.with_endpoint(&url), |builder| builder.build()),
        None => made(ENDPOINT, builder, |builder| builder.build()),
    }
}

fn metrics(url: Option<String>) -> Result<MetricExporter, Error> {
    let builder = MetricExporter::builder().with_http();
    match url {
        Some(url) => made(&url, builder.with_endpoint(&url), |builder| builder.build()),
        None => made(ENDPOINT, builder, |builder| builder.build()),
    }
}

fn made<B: Send, E: Send>(
    resource: &str,
    builder: B,
    build: fn(B) -> Result<E, ExporterBuildError>,
) -> Result<E, Error> {
    // The blocking HTTP client panics if it is made on a runtime's thread.
    match thread::scope(|scope| scope.spawn(|| build(builder)).join()) {
        Ok(Ok(exporter)) => Ok(exporter),
        Ok(Err(error)) => {
            let remedy = "see whether the URL is well-formed";
            Err(Error::new(ErrorKind::Config, resource, remedy).with_source(error))
        }
        Err(_) => Err(Error::new(ErrorKind::Config, resource, "the HTTP client could not be made")),
    }
}
