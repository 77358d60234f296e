//! `Telemetry` as the environment says, and errors that say what to do. Each case is a process of its own: a process
//! cannot change its environment soundly.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{carried, links, run};
use opentelemetry::{
    Context,
    propagation::{Extractor, Injector, TextMapPropagator, text_map_propagator::FieldIter},
    trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState},
};
use opentelemetry_sdk::trace::InMemorySpanExporter;
use std::{
    convert::Infallible,
    process::Command,
    sync::{Arc, LazyLock},
    time::Duration,
};
use throughline_core::{Destination, Message};
use throughline_trace::{MirrorLayer, Telemetry};
use tower::{ServiceBuilder, ServiceExt};

/// Runs one of the tests below in a process of its own; its output.
fn in_environment(case: &str, variables: &[(&str, &str)]) -> String {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", case, "--nocapture"]).env("CASE", case);
    child.envs(variables.iter().copied());
    let output = child.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    text
}

fn is_case(name: &str) -> bool {
    std::env::var("CASE").is_ok_and(|case| case == name)
}

#[test]
fn print_telemetry() {
    if is_case("print_telemetry") {
        // As most programs do it: within a runtime.
        run(async {
            match Telemetry::from_env("mine") {
                Ok(telemetry) => println!("ok: {telemetry:?}"),
                Err(error) => println!("error: {error}"),
            }
        });
        match Telemetry::builder("mine").global(false).build() {
            Ok(telemetry) => println!("built: {telemetry:?}"),
            Err(error) => println!("not built: {error}"),
        }
    }
}

#[test]
fn off_is_off() {
    let none = [("OTEL_TRACES_EXPORTER", "none"), ("OTEL_METRICS_EXPORTER", "none")];
    for variables in [&[("OTEL_SDK_DISABLED", "true")][..], &none] {
        assert!(in_environment("print_telemetry", variables).contains("ok: Telemetry(off)"));
    }
}

#[cfg(feature = "otlp")]
#[test]
fn spans_and_metrics_are_turned_off_alone() {
    for (variable, want) in [
        ("OTEL_TRACES_EXPORTER", "ok: Telemetry { spans: false, metrics: true"),
        ("OTEL_METRICS_EXPORTER", "ok: Telemetry { spans: true, metrics: false"),
        ("NOTHING", "ok: Telemetry { spans: true, metrics: true"),
    ] {
        let text = in_environment("print_telemetry", &[(variable, "none")]);
        assert!(text.contains(want), "{text}");
    }
}

#[cfg(not(feature = "otlp"))]
#[test]
fn without_the_feature_metrics_are_off_unless_asked_for() {
    let none = ("OTEL_TRACES_EXPORTER", "none");
    assert!(in_environment("print_telemetry", &[none]).contains("ok: Telemetry(off)"));
    let text = in_environment("print_telemetry", &[none, ("OTEL_METRICS_EXPORTER", "otlp")]);
    assert!(text.contains("error: bad setting: `OTEL_METRICS_EXPORTER`; the cargo feature `otlp`"), "{text}");
}

#[cfg(not(feature = "otlp"))]
#[test]
fn without_the_feature_the_error_names_it() {
    let text = in_environment("print_telemetry", &[]);
    assert!(text.contains("error: bad setting: `OTEL_TRACES_EXPORTER`; the cargo feature `otlp`"), "{text}");
}

#[cfg(feature = "otlp")]
#[test]
fn with_the_feature_a_bad_endpoint_or_protocol_is_an_error() {
    let text = in_environment("print_telemetry", &[]);
    assert!(text.contains("ok: Telemetry {"), "{text}");
    for variable in [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "::no url::"),
        ("OTEL_PROPAGATORS", "b4"),
    ] {
        let text = in_environment("print_telemetry", &[variable]);
        assert!(text.contains(&format!("error: bad setting: `{}`", variable.0)), "{text}");
    }
}

#[test]
fn a_bad_value_is_an_error_that_names_it() {
    for (name, value) in [
        ("OTEL_PROPAGATORS", "tracecontext,b4"),
        ("THROUGHLINE_RELATION", "sibling"),
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
    ] {
        let text = in_environment("print_telemetry", &[(name, value)]);
        assert!(text.contains(&format!("not built: bad setting: `{name}`")), "{text}");
    }
    let ratio = [("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "2")];
    assert!(
        in_environment("print_telemetry", &ratio)
            .contains("not built: bad setting: `OTEL_TRACES_SAMPLER_ARG`")
    );
}

#[test]
fn a_good_value_is_taken() {
    let text = in_environment(
        "print_telemetry",
        &[
            ("OTEL_PROPAGATORS", "tracecontext"),
            ("THROUGHLINE_RELATION", "parent-and-link"),
            ("OTEL_TRACES_SAMPLER", "always_on"),
        ],
    );
    let want = "relation: ParentAndLink, follow_links: false, propagation: [\"tracecontext\"]";
    assert!(text.contains(want), "{text}");
    let text = in_environment("print_telemetry", &[("OTEL_PROPAGATORS", " ")]);
    let want = "relation: Link, follow_links: true, propagation: [\"tracecontext\", \"baggage\"]";
    assert!(text.contains(want), "{text}");
}

/// A format with a field of its own: `x-ids: TRACE/SPAN`.
#[derive(Debug)]
struct Ids;

impl TextMapPropagator for Ids {
    fn inject_context(&self, context: &Context, injector: &mut dyn Injector) {
        let span = context.span();
        let ids = format!("{}/{}", span.span_context().trace_id(), span.span_context().span_id());
        injector.set("X-Ids", ids);
    }

    fn extract_with_context(&self, context: &Context, extractor: &dyn Extractor) -> Context {
        let Some((trace, span)) = extractor.get("X-Ids").and_then(|ids| ids.split_once('/')) else {
            return context.clone();
        };
        let (trace, span) = (TraceId::from_hex(trace).unwrap(), SpanId::from_hex(span).unwrap());
        let remote = SpanContext::new(trace, span, TraceFlags::SAMPLED, true, TraceState::NONE);
        context.with_remote_span_context(remote)
    }

    fn fields(&self) -> FieldIter<'_> {
        static FIELDS: LazyLock<[String; 1]> = LazyLock::new(|| ["X-Ids".into()]);
        FieldIter::new(&*FIELDS)
    }
}

#[test]
fn plug_in() {
    if !is_case("plug_in") {
        return;
    }
    let exporter = InMemorySpanExporter::default();
    let telemetry =
        Telemetry::builder("mine").exporter(exporter.clone()).propagator("ids", Ids).build().unwrap();
    let topic = Arc::new(Destination::new("kafka", "out"));
    let sender = ServiceBuilder::new()
        .layer(MirrorLayer::new(topic))
        .service_fn(|message: Message| async move { Ok::<_, Infallible>(message) });
    let sent = run(sender.oneshot(Message::new("x"))).unwrap();
    let receiver = ServiceBuilder::new()
        .layer(telemetry.tracing_layer())
        .service_fn(|_: Message| async { Ok::<_, Infallible>(()) });
    run(receiver.oneshot(sent.clone())).unwrap();
    telemetry.flush(Duration::from_secs(10)).unwrap();
    let spans = exporter.get_finished_spans().unwrap();
    assert_eq!(links(&spans[1])[0].span_id(), spans[0].span_context.span_id());
    assert_eq!(carried(&sent).unwrap().span_id(), spans[0].span_context.span_id());
    let fields: Vec<_> = sent.headers().iter().map(|header| &*header.name).collect();
    println!("fields: {fields:?}");
}

#[test]
fn another_format_can_be_plugged_in() {
    let text = in_environment("plug_in", &[("OTEL_PROPAGATORS", "ids")]);
    assert!(text.contains("fields: [\"x-ids\"]"), "{text}");
    let text = in_environment("plug_in", &[("OTEL_PROPAGATORS", "ids,tracecontext")]);
    assert!(text.contains("fields: [\"traceparent\", \"x-ids\"]"), "{text}");
    let text = in_environment("plug_in", &[]);
    assert!(text.contains("fields: [\"traceparent\"]"), "not unless it is named: {text}");
}

#[test]
fn print_resource() {
    if is_case("print_resource") {
        let exporter = InMemorySpanExporter::default();
        let telemetry = Telemetry::builder("mine").exporter(exporter.clone()).global(false).build().unwrap();
        common::run(async {
            let service = ServiceBuilder::new()
                .layer(telemetry.tracing_layer())
                .service_fn(|_: Message| async { Ok::<_, Infallible>(()) });
            service.oneshot(Message::new("x")).await.unwrap();
        });
        telemetry.flush(Duration::from_secs(10)).unwrap();
        assert_eq!(exporter.get_finished_spans().unwrap().len(), 1);
        println!("{exporter:?}");
    }
}

#[test]
fn the_environments_name_goes_first() {
    assert!(in_environment("print_resource", &[]).contains("\"mine\""));
    for variable in [("OTEL_SERVICE_NAME", "theirs"), ("OTEL_RESOURCE_ATTRIBUTES", "service.name=theirs")] {
        let text = in_environment("print_resource", &[variable]);
        assert!(text.contains("theirs") && !text.contains("\"mine\""), "{text}");
    }
}
