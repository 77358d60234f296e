//! Spans go to a list or a file that is checked at the end, and over OTLP if asked.

use crate::args::{Args, Brokers};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SimpleSpanProcessor};
use std::{path::Path, time::Duration};
use throughline::{BoxError, Telemetry, TelemetryBuilder};
use throughline_test::{FileExporter, StartedSpans};

/// For a run in one process; and a file in the folder for spans, if there is one.
pub(crate) fn in_memory(args: &Args) -> Result<(Telemetry, InMemorySpanExporter), BoxError> {
    let spans = InMemorySpanExporter::default();
    let mut builder = builder(args, "ai_pipeline").processor(SimpleSpanProcessor::new(spans.clone()));
    if let Some(folder) = &args.spans {
        let file = FileExporter::append(folder.join("ai_pipeline.jsonl"))?;
        builder = builder.processor(SimpleSpanProcessor::new(file));
    }
    Ok((exported(args, builder)?, spans))
}

/// For one process of several: two files in this folder, which survive its death. What had started and never ended
/// died with it.
pub(crate) fn in_files(args: &Args, service: &str, folder: &Path) -> Result<Telemetry, BoxError> {
    let file = |ending| folder.join(format!("{service}-{}.{ending}", std::process::id()));
    let builder = builder(args, service)
        .processor(StartedSpans::append(file("started"))?)
        .processor(SimpleSpanProcessor::new(FileExporter::append(file("jsonl"))?));
    exported(args, builder)
}

/// Exports what has ended, and says how many spans went over OTLP. A backend that is away stops nothing.
pub(crate) async fn flushed(args: &Args, telemetry: &Telemetry) -> Result<(), BoxError> {
    let flushed = telemetry.flushed(Duration::from_secs(5)).await;
    let Some(url) = &args.otlp else { return Ok(flushed?) };
    let (exported, dropped) = (telemetry.exported(), telemetry.dropped());
    let who = if args.brokers == Brokers::Memory { "all roles" } else { args.role.name() };
    eprintln!("{who}: {exported} spans exported to {url}, {dropped} lost");
    Ok(())
}

fn builder(args: &Args, service: &str) -> TelemetryBuilder {
    Telemetry::builder(service).relation(args.relation.into())
}

fn exported(args: &Args, builder: TelemetryBuilder) -> Result<Telemetry, BoxError> {
    match &args.otlp {
        None => Ok(builder.build()?),
        #[cfg(feature = "otlp")]
        Some(url) => Ok(builder.otlp(url)?.build()?),
        #[cfg(not(feature = "otlp"))]
        Some(url) => {
            let command = format!("cargo run --features otlp --example ai_pipeline -- --otlp {url}");
            Err(format!("this build has no OTLP exporter, to keep it fast; run `{command}`").into())
        }
    }
}
