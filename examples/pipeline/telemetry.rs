//! Spans go to a list that is checked at the end, and over OTLP if asked.

use crate::args::Args;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SimpleSpanProcessor};
use throughline::{BoxError, Telemetry};

pub(crate) fn set_up(args: &Args) -> Result<(Telemetry, InMemorySpanExporter), BoxError> {
    let spans = InMemorySpanExporter::default();
    let builder = Telemetry::builder(args.role.name()).processor(SimpleSpanProcessor::new(spans.clone()));
    let telemetry = match &args.otlp {
        None => builder.build()?,
        #[cfg(feature = "otlp")]
        Some(url) => builder.otlp(url)?.build()?,
        #[cfg(not(feature = "otlp"))]
        Some(url) => {
            let command = format!("cargo run --features otlp --example pipeline -- --otlp {url}");
            return Err(format!("this build has no OTLP exporter, to keep it fast; run `{command}`").into());
        }
    };
    Ok((telemetry, spans))
}
