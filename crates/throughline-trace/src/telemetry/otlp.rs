//! Export by OTLP over HTTP, behind the cargo feature `otlp`.

use super::{TelemetryBuilder, env};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use std::thread;
use throughline_core::{Error, ErrorKind};

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const PATH: &str = "/v1/traces";

impl TelemetryBuilder {
    /// Over OTLP/HTTP to this base URL, for instance `http://127.0.0.1:4318`.
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
        let path = if base.ends_with(PATH) { "" } else { PATH };
        let url = format!("{base}{path}");
        Ok(self.exporter_later(move || exporter(Some(url))))
    }

    /// To where `OTEL_EXPORTER_OTLP_*` says.
    pub(super) fn otlp_from_env(self) -> Result<Self, Error> {
        let protocol = env::var("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")?;
        let protocol = protocol.or(env::var("OTEL_EXPORTER_OTLP_PROTOCOL")?);
        if let Some(other) = protocol.filter(|protocol| protocol != "http/protobuf") {
            let remedy = format!(
                "`{other}` is not built in: say `http/protobuf` (port 4318), or give an exporter of your own to \
                 `Telemetry::builder(..).exporter(..)`"
            );
            return Err(Error::new(ErrorKind::Config, "OTEL_EXPORTER_OTLP_PROTOCOL", remedy));
        }
        Ok(self.exporter_later(|| exporter(None)))
    }
}

fn exporter(url: Option<String>) -> Result<SpanExporter, Error> {
    let resource = url.clone().unwrap_or_else(|| ENDPOINT.to_owned());
    let mut builder = SpanExporter::builder().with_http();
    if let Some(url) = url {
        builder = builder.with_endpoint(url);
    }
    // The blocking HTTP client panics if it is made on a runtime's thread.
    match thread::scope(|scope| scope.spawn(|| builder.build()).join()) {
        Ok(Ok(exporter)) => Ok(exporter),
        Ok(Err(error)) => {
            let remedy = "see whether the URL is well-formed";
            Err(Error::new(ErrorKind::Config, resource, remedy).with_source(error))
        }
        Err(_) => Err(Error::new(ErrorKind::Config, resource, "the HTTP client could not be made")),
    }
}
