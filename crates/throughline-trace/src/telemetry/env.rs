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
    let traces = exporter("OTEL_TRACES_EXPORTER")?.unwrap_or(true);
    let metrics = exporter("OTEL_METRICS_EXPORTER")?.unwrap_or(cfg!(feature = "otlp"));
    if traces || metrics { otlp(service_name, traces, metrics) } else { Ok(Telemetry::off()) }
}

/// Whether there is one, if it is said.
fn exporter(name: &'static str) -> Result<Option<bool>, Error> {
    match var(name)?.as_deref() {
        None => Ok(None),
        Some("otlp") => Ok(Some(true)),
        Some("none") => Ok(Some(false)),
        Some(other) => Err(bad(name, format!("`{other}` is unknown: say `otlp` or `none`"))),
    }
}

#[cfg(feature = "otlp")]
fn otlp(service_name: &str, traces: bool, metrics: bool) -> Result<Telemetry, Error> {
    let mut builder = Telemetry::builder(service_name);
    builder = if traces { builder.spans_from_env()? } else { builder.without_spans() };
    if metrics {
        builder = builder.metrics_from_env()?;
    }
    builder.build()
}

#[cfg(not(feature = "otlp"))]
fn otlp(_: &str, traces: bool, _: bool) -> Result<Telemetry, Error> {
    let name = if traces { "OTEL_TRACES_EXPORTER" } else { "OTEL_METRICS_EXPORTER" };
    let remedy = format!(
        "the cargo feature `otlp` of `throughline-trace` is off: enable it, set {name}=none, or give an exporter to \
         `Telemetry::builder(..)`"
    );
    Err(bad(name, remedy))
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
