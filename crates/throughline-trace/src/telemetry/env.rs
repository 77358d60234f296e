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
    Telemetry::builder(service_name).otlp_from_env()?.build()
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
