//! Metrics: each delivery and each send is counted once with the outcome of its span, whether there is a span or not.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test; some of its services panic")]

mod common;

use bytes::Bytes;
use common::{Recorder, attribute, message, origin, run};
use opentelemetry::{Context, metrics::MeterProvider};
use opentelemetry_sdk::{
    metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider},
    trace::{InMemorySpanExporter, Sampler, SpanData},
};
use std::{
    collections::BTreeMap,
    convert::Infallible,
    future::{Future, pending, ready},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::Waker,
    time::{Duration, SystemTime},
};
use throughline_core::{Destination, Error, ErrorKind, Event, Message, Settled, Settlement};
use throughline_test::Measures;
use throughline_trace::{AttemptLayer, Metrics, MirrorLayer, Telemetry, TracingLayer, WorkerFigures};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

const PROCESS: &str = "messaging.process.duration";
const OPERATION: &str = "messaging.client.operation.duration";
const CONSUMED: &str = "messaging.client.consumed.messages";
const SENT: &str = "messaging.client.sent.messages";
const IN_QUEUE: &str = "throughline.message.time_in_queue";
const BUCKETS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

struct Meters {
    exporter: InMemoryMetricExporter,
    provider: SdkMeterProvider,
    metrics: Metrics,
}

impl Meters {
    fn new() -> Self {
        let exporter = InMemoryMetricExporter::default();
        let reader = PeriodicReader::builder(exporter.clone()).build();
        let provider = SdkMeterProvider::builder().with_reader(reader).build();
        let metrics = Metrics::new(&provider.meter("test"));
        Meters { exporter, provider, metrics }
    }

    fn read(&self) -> Measures {
        self.provider.force_flush().unwrap();
        Measures::last(&self.exporter)
    }
}

/// What each delivery does: one succeeds, two fail in one way, one panics, one is cancelled.
const DOES: [&str; 5] = ["done", "fail", "fail", "panic", "wait"];

fn act(message: Message) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send>> {
    match &message.payload()[..] {
        b"fail" => Box::pin(ready(Err(Error::new(ErrorKind::Timeout, "orders", "wait")))),
        b"panic" => panic!("on purpose"),
        b"wait" => Box::pin(pending()),
        _ => Box::pin(ready(Ok(()))),
    }
}

fn five_ways<L>(layer: L, messages: impl Fn(&'static str) -> Message)
where
    L: Layer<tower::util::ServiceFn<fn(Message) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>>>,
    L::Service: Service<Message, Response = (), Error = Error>,
{
    let mut service = layer.layer(service_fn(act as fn(Message) -> _));
    for what in DOES {
        let message = messages(what);
        let _ = catch_unwind(AssertUnwindSafe(|| {
            let mut future = Box::pin(service.call(message));
            let _ = future.as_mut().poll(&mut std::task::Context::from_waker(Waker::noop()));
        }));
    }
}

/// Each says its own, as an adapter hands it out.
fn deliveries(flags: u8) -> impl Fn(&'static str) -> Message {
    let (headers, origin) = (message(flags).headers().clone(), origin());
    move |what| Message::received(Some(what.into()), None, headers.clone(), origin.clone())
}

fn by_error(measures: &Measures, name: &str) -> BTreeMap<String, f64> {
    let of = |measure: &throughline_test::Measure| measure.attribute("error.type").unwrap_or("").to_owned();
    measures.with(name, &[]).into_iter().map(|measure| (of(measure), measure.value)).collect()
}

fn spans_by_error(spans: &[SpanData]) -> BTreeMap<String, f64> {
    let mut counts = BTreeMap::new();
    for span in spans {
        let error = attribute(span, "error.type").map(|value| value.to_string()).unwrap_or_default();
        *counts.entry(error).or_default() += 1.0;
    }
    counts
}

fn expected() -> BTreeMap<String, f64> {
    [("", 1.0), ("timeout", 2.0), ("panic", 1.0), ("cancelled", 1.0)].map(|(e, n)| (e.to_owned(), n)).into()
}

#[test]
fn deliveries_are_counted_as_their_spans_say() {
    let (meters, recorder) = (Meters::new(), Recorder::new());
    five_ways(TracingLayer::new(recorder.tracer()).metrics(meters.metrics.clone()), deliveries(1));
    let measures = meters.read();
    assert_eq!(spans_by_error(&recorder.spans()), expected());
    assert_eq!(by_error(&measures, PROCESS), expected());
    assert_eq!(by_error(&measures, CONSUMED), expected());
}

#[test]
fn neither_a_tracer_nor_sampling_nor_a_context_is_needed() {
    let unsampled = Recorder::sampling(Sampler::AlwaysOff);
    let bare = |what| Message::received(Some(what), None, Default::default(), origin());
    let meters = [0; 4].map(|_| Meters::new());
    let metrics = |n: usize| meters[n].metrics.clone();
    five_ways(TracingLayer::passthrough().metrics(metrics(0)), deliveries(1));
    five_ways(TracingLayer::passthrough().metrics(metrics(1)), |what| bare(what.into()));
    five_ways(TracingLayer::new(unsampled.tracer()).metrics(metrics(2)), deliveries(0));
    let followed = TracingLayer::new(unsampled.tracer()).follow_links(true);
    five_ways(followed.metrics(metrics(3)), deliveries(0));
    assert!(unsampled.spans().is_empty());
    for meters in &meters {
        assert_eq!(by_error(&meters.read(), CONSUMED), expected());
    }
}

#[test]
fn sends_are_counted_as_their_spans_say() {
    let orders = || Arc::new(Destination::new("kafka", "orders"));
    let (meters, recorder) = (Meters::new(), Recorder::new());
    let layer = MirrorLayer::new(orders()).spans(recorder.tracer()).metrics(meters.metrics.clone());
    five_ways(layer, Message::new);
    let measures = meters.read();
    assert_eq!(spans_by_error(&recorder.spans()), expected());
    assert_eq!(by_error(&measures, OPERATION), expected());
    assert_eq!(by_error(&measures, SENT), expected());
    assert_eq!(measures.sum(OPERATION, &[("messaging.operation.type", "send")]), 5.0);

    let bare = Meters::new();
    five_ways(MirrorLayer::new(orders()).metrics(bare.metrics.clone()), Message::new);
    assert_eq!(by_error(&bare.read(), SENT), expected(), "without a tracer");

    let silent = Meters::new();
    let _suppressed = Context::enter_telemetry_suppressed_scope();
    five_ways(MirrorLayer::new(orders()).metrics(silent.metrics.clone()), Message::new);
    assert_eq!(silent.read().all(), [], "what telemetry itself sends is not counted");
}

#[test]
fn attributes_units_and_buckets_are_those_of_the_conventions() {
    let meters = Meters::new();
    let mut of = Destination::new("kafka", "orders-4711");
    of.template = Some("orders-{id}".into());
    of.group = Some("billing".into());
    of.server = Some(("broker".into(), 9092));
    of.client_id = Some("me".into());
    let mut origin = throughline_core::Origin::new(Arc::new(of));
    (origin.partition, origin.time) = (Some(7), Some(SystemTime::now() - Duration::from_secs(20)));
    let layer = TracingLayer::passthrough().metrics(meters.metrics.clone());
    five_ways(layer, |what| Message::received(Some(what.into()), None, Default::default(), origin.clone()));
    let measures = meters.read();
    for (name, unit) in [(PROCESS, "s"), (CONSUMED, "{message}"), (IN_QUEUE, "s")] {
        let series = measures
            .with(name, &[])
            .into_iter()
            .find(|series| series.attribute("error.type").is_none())
            .unwrap();
        assert_eq!(series.unit, unit);
        let attributes: Vec<_> =
            series.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let wanted = [
            ("messaging.consumer.group.name", "billing"),
            ("messaging.destination.template", "orders-{id}"),
            ("messaging.operation.name", "process"),
            ("messaging.system", "kafka"),
            ("server.address", "broker"),
            ("server.port", "9092"),
        ];
        assert_eq!(attributes, wanted, "{name}");
    }
    assert_eq!(measures.with(PROCESS, &[]).into_iter().next().unwrap().bounds, BUCKETS);
}

#[test]
fn time_in_the_queue_survives_every_clock() {
    let meters = Meters::new();
    let now = SystemTime::now();
    let times = [
        (None, "no time"),
        (Some(now - Duration::from_secs(2)), "two seconds ago"),
        (Some(now + Duration::from_secs(3600)), "an hour ahead"),
        (Some(SystemTime::UNIX_EPOCH), "the epoch"),
        (SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(i64::MAX as u64 / 1000)), "far ahead"),
    ];
    let origin = origin();
    let layer = TracingLayer::passthrough().metrics(meters.metrics.clone());
    let mut service = layer.layer(service_fn(|_: Message| ready(Ok::<_, Infallible>(()))));
    for (time, _) in times {
        let mut origin = origin.clone();
        origin.time = time;
        run(service.call(Message::received(None, None, Default::default(), origin))).unwrap();
    }
    let measures = meters.read();
    let skewed = measures.with(IN_QUEUE, &[("throughline.clock.skewed", "true")]);
    assert_eq!((skewed.len(), skewed[0].value, skewed[0].total), (1, 2.0, 0.0), "clamped and marked");
    assert_eq!(measures.sum(IN_QUEUE, &[]), 4.0, "none without a time");
    let exact = measures
        .with(IN_QUEUE, &[])
        .into_iter()
        .find(|series| series.attribute("throughline.clock.skewed").is_none());
    assert!(exact.unwrap().total > 1e9, "the epoch is a sample");
    assert_eq!(measures.sum(CONSUMED, &[]), 5.0, "each is delivered");
}

#[test]
fn retries_are_counted_apart_from_the_delivery() {
    let meters = Meters::new();
    let retry = |_: &mut Message, result: &mut Result<(), &str>| result.is_err();
    let mut left = 2;
    let service = ServiceBuilder::new()
        .layer(TracingLayer::passthrough().metrics(meters.metrics.clone()))
        .layer_fn(|inner| tower::retry::Retry::new(Again(retry), inner))
        .layer(AttemptLayer::new())
        .service_fn(move |_: Message| {
            left -= 1;
            ready(if left >= 0 { Err("not yet") } else { Ok(()) })
        });
    run(service.oneshot(Message::new("untraced"))).unwrap();
    let measures = meters.read();
    assert_eq!(measures.sum("throughline.message.retries", &[]), 2.0);
    assert_eq!(by_error(&measures, CONSUMED), [(String::new(), 1.0)].into());
}

/// Retries as long as the function says so.
#[derive(Clone)]
struct Again<F>(F);

impl<F, Res, E> tower::retry::Policy<Message, Res, E> for Again<F>
where
    F: FnMut(&mut Message, &mut Result<Res, E>) -> bool,
{
    type Future = std::future::Ready<()>;

    fn retry(&mut self, message: &mut Message, result: &mut Result<Res, E>) -> Option<Self::Future> {
        (self.0)(message, result).then(|| ready(()))
    }

    fn clone_request(&mut self, message: &Message) -> Option<Message> {
        Some(message.clone())
    }
}

#[test]
fn error_types_without_end_are_counted_together() {
    let meters = Meters::new();
    let layer = TracingLayer::passthrough().metrics(meters.metrics.clone()).classify(MadeUp);
    let mut service = layer.layer(service_fn(|message: Message| ready(Ok::<_, Infallible>(message))));
    let origin = origin();
    for n in 0..1000 {
        let payload = (n % 500).to_string();
        run(service.call(Message::received(Some(payload.into()), None, Default::default(), origin.clone())))
            .unwrap();
    }
    let counts = by_error(&meters.read(), CONSUMED);
    assert_eq!((counts.len(), counts["0"], counts["_OTHER"]), (65, 2.0, 872.0));
}

/// Every payload is an error of its own.
#[derive(Clone)]
struct MadeUp;

impl<E> throughline_trace::Classify<Message, E> for MadeUp {
    fn failure(&self, result: &Result<Message, E>) -> Option<throughline_trace::Failure> {
        let text = String::from_utf8_lossy(result.as_ref().ok()?.payload()).into_owned();
        Some(throughline_trace::Failure::new(text))
    }
}

/// A telemetry whose spans and metrics are kept.
fn kept(commit_spans: bool) -> (Telemetry, InMemorySpanExporter, InMemoryMetricExporter) {
    let (spans, metrics) = (InMemorySpanExporter::default(), InMemoryMetricExporter::default());
    let builder = Telemetry::builder("test").exporter(spans.clone()).metrics_exporter(metrics.clone());
    (builder.global(false).commit_spans(commit_spans).build().unwrap(), spans, metrics)
}

#[test]
fn settlements_are_measured_and_failed_ones_always_have_a_span() {
    for (commit_spans, names) in [
        (false, ["commit orders", "delete queue"].as_slice()),
        (true, ["commit orders", "commit orders", "delete queue"].as_slice()),
    ] {
        let (telemetry, exporter, metrics) = kept(commit_spans);
        let observer = telemetry.observer().unwrap();
        let (log, queue) = ("kafka", "aws_sqs");
        let came = ["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "none"].map(Bytes::from);
        let error = Error::new(ErrorKind::Broker, "orders/0", "wait");
        for (system, name, result) in
            [(log, "orders", Ok(())), (log, "orders", Err(&error)), (queue, "queue", Ok(()))]
        {
            let of = Arc::new(Destination::new(system, name));
            let took = Duration::from_millis(30);
            let settled = Settled::new(&of, 12, Settlement::Ack, result, took);
            let contexts: &[Bytes] = if system == queue { &came } else { &[] };
            observer.observe(Event::Settled(settled.contexts(contexts).request_id(Some("r-1"))));
        }
        telemetry.flush(Duration::from_secs(10)).unwrap();
        let spans = exporter.get_finished_spans().unwrap();
        assert_eq!(spans.iter().map(|span| &*span.name).collect::<Vec<_>>(), names);
        let links: Vec<_> =
            spans.last().unwrap().links.iter().map(|link| link.span_context.span_id()).collect();
        assert_eq!(links, [opentelemetry::trace::SpanId::from(0x00f0_67aa_0ba9_02b7)], "to what made it");
        let request = |span| attribute(span, "aws.request_id").map(|id| id.to_string());
        assert_eq!(request(spans.last().unwrap()).as_deref(), Some("r-1"));
        assert_eq!(request(&spans[0]), None, "not of AWS");
        let failed = spans.iter().find(|span| attribute(span, "error.type").is_some()).unwrap();
        let of = |name| attribute(failed, name).unwrap().to_string();
        assert_eq!(of("error.type"), "broker");
        assert_eq!(of("messaging.operation.name"), "commit");
        assert_eq!(of("messaging.operation.type"), "settle");
        assert_eq!(of("messaging.batch.message_count"), "12");
        assert_eq!(failed.span_kind, opentelemetry::trace::SpanKind::Client);
        assert!(matches!(failed.status, opentelemetry::trace::Status::Error { .. }));
        assert_eq!(failed.end_time.duration_since(failed.start_time).unwrap(), Duration::from_millis(30));
        let measures = Measures::last(&metrics);
        let counted = |attributes: &[_]| measures.sum(OPERATION, attributes);
        assert_eq!(counted(&[("messaging.operation.type", "settle")]), 3.0);
        let broken = [("messaging.operation.name", "commit"), ("error.type", "broker")];
        assert_eq!(counted(&broken), 1.0);
    }
}

#[test]
fn lag_is_told_until_the_partition_is_given_up() {
    let (telemetry, _, metrics) = kept(false);
    let observer = telemetry.observer().unwrap();
    let orders = Arc::new(Destination::new("kafka", "orders"));
    let lag = |partition, messages| {
        observer.observe(Event::Lag { destination: &orders, partition, messages });
    };
    let read = || {
        telemetry.flush(Duration::from_secs(10)).unwrap();
        let measures = Measures::last(&metrics);
        let of = |m: &throughline_test::Measure| {
            (m.attribute("messaging.destination.partition.id").unwrap().to_owned(), m.value)
        };
        measures.with("throughline.consumer.lag", &[]).into_iter().map(of).collect::<BTreeMap<_, _>>()
    };
    lag(0, 7);
    lag(1, 9);
    lag(0, 5);
    assert_eq!(read(), [("0".to_owned(), 5.0), ("1".to_owned(), 9.0)].into());
    observer.observe(Event::Rebalanced { assigned: &[], revoked: &[(orders.clone(), 0)] });
    assert_eq!(read(), [("1".to_owned(), 9.0)].into());
    observer.observe(Event::Skipped { destination: &orders, partition: 1, from: 3, to: 8, reason: "gone" });
    read();
    assert_eq!(Measures::last(&metrics).sum("throughline.consumer.skipped", &[]), 5.0);
    drop(observer);
    assert_eq!(read(), BTreeMap::new(), "the source is gone");
}

#[test]
fn workers_of_one_name_are_added_up() {
    let (telemetry, _, metrics) = kept(false);
    let figures = |in_flight, restarts| {
        let mut figures = WorkerFigures::default();
        (figures.in_flight, figures.restarts) = (in_flight, restarts);
        figures
    };
    let alive = Arc::new(());
    let weak = Arc::downgrade(&alive);
    telemetry.watch("one", move || Some(figures(3, 1)));
    telemetry.watch("one", move || weak.upgrade().map(|_| figures(4, 0)));
    telemetry.watch("two", move || Some(figures(1, 0)));
    let read = |name, worker| {
        telemetry.flush(Duration::from_secs(10)).unwrap();
        Measures::last(&metrics).sum(name, &[("throughline.worker", worker)])
    };
    assert_eq!(read("throughline.worker.in_flight", "one"), 7.0);
    assert_eq!(read("throughline.worker.in_flight", "two"), 1.0);
    assert_eq!(read("throughline.worker.restarts", "one"), 1.0);
    drop(alive);
    assert_eq!(read("throughline.worker.in_flight", "one"), 3.0);
}

#[test]
fn without_an_sdk_there_is_nothing() {
    let telemetry = Telemetry::off();
    assert!(telemetry.metrics().is_none() && telemetry.observer().is_none());
    telemetry.watch("one", || panic!("nobody asks"));
    telemetry.flush(Duration::from_secs(10)).unwrap();
}

#[test]
fn spans_that_are_dropped_are_counted_in_the_last_export() {
    #[derive(Debug)]
    struct Broken;
    impl opentelemetry_sdk::trace::SpanExporter for Broken {
        async fn export(&self, _: Vec<SpanData>) -> opentelemetry_sdk::error::OTelSdkResult {
            Err(opentelemetry_sdk::error::OTelSdkError::InternalFailure("on purpose".into()))
        }
        fn shutdown_with_timeout(&self, _: Duration) -> opentelemetry_sdk::error::OTelSdkResult {
            Ok(())
        }
    }
    let metrics = InMemoryMetricExporter::default();
    let builder = Telemetry::builder("test").exporter(Broken).metrics_exporter(metrics.clone());
    let telemetry = builder.global(false).build().unwrap();
    five_ways(telemetry.tracing_layer(), deliveries(1));
    let _ = telemetry.shutdown(Duration::from_secs(10));
    assert_eq!(Measures::last(&metrics).sum("throughline.telemetry.spans_dropped", &[]), 5.0);
}
