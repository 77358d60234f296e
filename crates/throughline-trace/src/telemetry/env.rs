//! What the environment says. An unset variable and an empty one are the same.

use super::Telemetry;
use opentelemetry_sdk::trace::{Sampler, ShouldSample};
use std::env::VarError;
use throughline_core::{Error, ErrorKind};

/// The trimmed value.
pub(super) fn var(name: &'static str) -> Result<Option<String>, Error> {
    match std::env::var(name) {
        Ok(value) => Ok(Some(value.trim().to_owned()).filter(|value| !value.is_empty())),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(bad(name, "the value is not UTF-8")),
    }
}

pub(super) fn positive(name: &'static str) -> Result<Option<usize>, Error> {
    let Some(value) = var(name)? else { return Ok(None) };
    match value.parse() {
        Ok(number) if number > 0 => Ok(Some(number)),
        _ => Err(bad(name, format!("`{value}` is not a positive number"))),
    }
}

pub(super) fn telemetry(service_name: &str) -> Result<Telemetry, Error> {
    if var("OTEL_SDK_DISABLED")?.is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok(Telemetry::off());
    }
    match var("OTEL_TRACES_EXPORTER")?.as_deref() {
        None | Some("otlp") => otlp(service_name),
        Some("none") => Ok(Telemetry::off()),
        Some(other) => {
            Err(bad("OTEL_TRACES_EXPORTER", format!("`{other}` is unknown: say `otlp` or `none`")))
        }
    }
}

#[cfg(feature = "otlp")]
fn otlp(service_name: &str) -> Result<Telemetry, Error> {
    let protocol = var("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")?.or(var("OTEL_EXPORTER_OTLP_PROTOCOL")?);
    if let Some(other) = protocol.filter(|protocol| protocol != "http/protobuf") {
        let remedy = format!(
            "`{other}` is not built in: say `http/protobuf` (port 4318), or give an exporter of your own to \
             `Telemetry::builder(..).exporter(..)`"
        );
        return Err(bad("OTEL_EXPORTER_OTLP_PROTOCOL", remedy));
    }
    Telemetry::builder(service_name).exporter(otlp_exporter(None)?).build()
}

/// To this base URL, else to where the environment says.
#[cfg(feature = "otlp")]
pub(super) fn otlp_exporter(endpoint: Option<&str>) -> Result<opentelemetry_otlp::SpanExporter, Error> {
    use opentelemetry_otlp::WithExportConfig;
    let url = endpoint.map(|base| format!("{}/v1/traces", base.trim_end_matches('/')));
    let resource = endpoint.unwrap_or("OTEL_EXPORTER_OTLP_ENDPOINT");
    let build = || {
        let exporter = opentelemetry_otlp::SpanExporter::builder().with_http().build().map_err(|error| {
            bad("OTEL_EXPORTER_OTLP_ENDPOINT", "see whether the URL is well-formed").with_source(error)
        })?;
        Telemetry::builder(service_name).exporter(exporter).build()
    };
    // The blocking HTTP client panics if it is made on a runtime's thread, and if it is dropped there, as it is when
    // another setting turns out to be bad.
    let built = std::thread::scope(|scope| scope.spawn(build).join());
    built.unwrap_or_else(|_| Err(bad("OTEL_EXPORTER_OTLP_ENDPOINT", "the HTTP client could not be made")))
}

#[cfg(not(feature = "otlp"))]
fn otlp(_: &str) -> Result<Telemetry, Error> {
    let remedy = "the cargo feature `otlp` of `throughline-trace` is off: enable it, set \
                  OTEL_TRACES_EXPORTER=none, or give an exporter to `Telemetry::builder(..).exporter(..)`";
    Err(bad("OTEL_TRACES_EXPORTER", remedy))
}

/// The sampler, and whether it is to follow links: one that ignores its parent ignores links too.
pub(super) fn sampler() -> Result<(Option<Box<dyn ShouldSample>>, bool), Error> {
    const NAME: &str = "OTEL_TRACES_SAMPLER";
    let name = var(NAME)?;
    let ratio = || {
        let Some(text) = var("OTEL_TRACES_SAMPLER_ARG")? else { return Ok(1.0) };
        match text.parse() {
            Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
            _ => Err(bad("OTEL_TRACES_SAMPLER_ARG", format!("`{text}` is not a ratio between 0 and 1"))),
        }
    };
    let root = match name.as_deref() {
        None | Some("always_on" | "parentbased_always_on") => Sampler::AlwaysOn,
        Some("always_off" | "parentbased_always_off") => Sampler::AlwaysOff,
        Some("traceidratio" | "parentbased_traceidratio") => Sampler::TraceIdRatioBased(ratio()?),
        Some(other) => {
            let known = "always_on, always_off, traceidratio, or one of these with `parentbased_` before it";
            return Err(bad(NAME, format!("`{other}` is unknown: say {known}")));
        }
    };
    let follows = name.is_none_or(|name| name.starts_with("parentbased_"));
    let sampler = if follows { Sampler::ParentBased(Box::new(root)) } else { root };
    Ok((Some(Box::new(sampler)), follows))
}

fn bad(name: &str, remedy: impl Into<String>) -> Error {
    Error::new(ErrorKind::Config, name, remedy)
}
