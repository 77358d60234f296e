//! A batch is one process span, a root with a link to what made each of its messages.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use bytes::Bytes;
use common::{Recorder, TRACE, attribute, carried, links, run};
use opentelemetry::{
    Context, Value,
    baggage::BaggageExt,
    trace::{SpanContext, SpanId, SpanKind, Status, TraceContextExt},
};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SpanData};
use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};
use throughline_core::{Batch, Destination, Extensions, Extract, Headers, Inbound, Message, Origin};
use throughline_trace::{
    AttemptLayer, FollowLinks, MirrorLayer, Relation, Telemetry, TraceContext, TracingLayer, forward,
};
use tower::{BoxError, Service, ServiceBuilder, ServiceExt};

/// The n-th message, from a producer whose span has that number.
fn message(n: u64, of: &Arc<Destination>, partition: i32, flags: u8) -> Message {
    let mut headers = Headers::new();
    headers.append("traceparent", Bytes::from(format!("00-{TRACE}-{n:016x}-{flags:02x}")));
    received(headers, n, of, partition)
}

fn received(headers: Headers, n: u64, of: &Arc<Destination>, partition: i32) -> Message {
    let mut origin = Origin::new(of.clone());
    (origin.partition, origin.offset) = (Some(partition), Some(n as i64));
    Message::received(Some("body".into()), Some(format!("key {n}").into()), headers, origin)
}

fn orders() -> Arc<Destination> {
    Arc::new(Destination::new("kafka", "orders"))
}

fn on_link(span: &SpanData, link: usize, name: &str) -> Option<Value> {
    let attributes = &span.links.links[link].attributes;
    attributes.iter().find(|kv| kv.key.as_str() == name).map(|kv| kv.value.clone())
}

fn span_ids(span: &SpanData) -> Vec<SpanId> {
    links(span).iter().map(SpanContext::span_id).collect()
}

/// Sends a new message and one of the batch, and gives what they carried.
fn deliver(layer: TracingLayer, recorder: &Recorder, batch: Batch, send_on: usize) -> (Message, Message) {
    let sent = Arc::new(Mutex::new(Vec::new()));
    let keep = sent.clone();
    let mirror = MirrorLayer::new(orders()).spans(recorder.tracer());
    let publish = ServiceBuilder::new().layer(mirror).service_fn(move |message: Message| {
        keep.lock().unwrap().push(message);
        async { Ok::<_, Infallible>(()) }
    });
    let service = ServiceBuilder::new().layer(layer).service_fn(move |batch: Batch| {
        let mut publish = publish.clone();
        async move {
            publish.call(Message::new("new")).await?;
            publish.call(forward(&batch[send_on])).await
        }
    });
    run(service.oneshot(batch)).unwrap();
    let mut sent = sent.lock().unwrap();
    let on = sent.pop().unwrap();
    (sent.pop().unwrap(), on)
}

#[test]
fn one_root_links_to_all_of_them_and_their_differences_are_on_the_links() {
    let recorder = Recorder::new();
    let of = orders();
    let without = received(Headers::new(), 4, &of, 3);
    let batch = [1, 2, 3].map(|n| message(n, &of, 3, 1)).into_iter().chain([without]).collect();
    let layer = TracingLayer::new(recorder.tracer()).relation(Relation::ParentAndLink);
    let (new, on) = deliver(layer, &recorder, batch, 1);

    let process = recorder.named("process orders");
    assert_eq!((process.span_kind.clone(), process.parent_span_id), (SpanKind::Consumer, SpanId::INVALID));
    assert_eq!(process.status, Status::Unset);
    assert_eq!(span_ids(&process), [1, 2, 3].map(SpanId::from), "one without a context has no link");
    assert_eq!(attribute(&process, "messaging.batch.message_count"), Some(4.into()));
    assert_eq!(attribute(&process, "messaging.destination.partition.id"), Some("3".into()), "in common");
    for name in ["messaging.kafka.offset", "messaging.kafka.message.key"] {
        assert_eq!(attribute(&process, name), None, "{name} differs");
    }
    assert_eq!(on_link(&process, 1, "messaging.kafka.offset"), Some(2.into()));
    assert_eq!(on_link(&process, 1, "messaging.kafka.message.key"), Some("key 2".into()));
    assert_eq!(on_link(&process, 1, "messaging.destination.partition.id"), None);

    let receive = recorder.named("poll orders");
    assert_eq!((receive.span_kind.clone(), receive.parent_span_id), (SpanKind::Client, SpanId::INVALID));
    assert_eq!(span_ids(&receive), span_ids(&process));
    assert_eq!(attribute(&receive, "messaging.operation.type"), Some("receive".into()));
    assert_eq!(attribute(&receive, "messaging.batch.message_count"), Some(4.into()));

    for message in [new, on] {
        let send = carried(&message).unwrap();
        let send = recorder.spans().into_iter().find(|span| span.span_context.span_id() == send.span_id());
        assert_eq!(send.unwrap().parent_span_id, process.span_context.span_id(), "sent inside the batch");
    }
}

#[test]
fn each_message_has_its_own_baggage_and_the_batch_none() {
    let recorder = Recorder::new();
    let with_baggage = |n: u64| {
        let mut message = message(n, &orders(), 3, 1);
        message.headers_mut().append("baggage", Bytes::from(format!("tenant={n}")));
        message
    };
    for tenants in [vec![1], vec![1, 2]] {
        let batch: Batch = tenants.iter().map(|n| with_baggage(*n)).collect();
        let service = ServiceBuilder::new().layer(TracingLayer::new(recorder.tracer()));
        let service = service.service_fn(|batch: Batch| async move {
            let tenant = |context: Context| context.baggage().get("tenant").map(ToString::to_string);
            let process = Context::current().span().span_context().clone();
            assert!(batch.iter().all(|message| *message.context().span().span_context() == process));
            let each: Vec<_> = batch.iter().map(|message| tenant(message.context()).unwrap()).collect();
            Ok::<_, Infallible>((tenant(Context::current()), each))
        });
        let (current, each) = run(service.oneshot(batch)).unwrap();
        assert_eq!(each, tenants.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(current, (tenants.len() == 1).then(|| "1".to_owned()));
    }
}

#[test]
fn each_message_knows_the_batch_and_its_own_producer() {
    let recorder = Recorder::new();
    let of = orders();
    let service = ServiceBuilder::new().layer(TracingLayer::new(recorder.tracer())).service_fn(
        |batch: Batch| async move {
            Ok::<_, Infallible>(
                batch
                    .iter()
                    .map(|message| {
                        let creation = message.creation_context().unwrap().span_id();
                        (message.context().span().span_context().span_id(), creation)
                    })
                    .collect::<Vec<_>>(),
            )
        },
    );
    let batch = [1, 2].map(|n| message(n, &of, 0, 1)).into_iter().collect::<Batch>();
    let seen = run(service.oneshot(batch)).unwrap();
    let process = recorder.named("process orders").span_context.span_id();
    assert_eq!(seen, [1, 2].map(|n: u64| (process, SpanId::from(n))));
}

#[test]
fn what_differs_in_place_is_on_the_links() {
    let recorder = Recorder::new();
    let (of, other) = (orders(), Arc::new(Destination::new("kafka", "returns")));
    let batch = [message(1, &of, 0, 1), message(2, &of, 1, 1)].into_iter().collect();
    deliver(TracingLayer::new(recorder.tracer()).receive_spans(false), &recorder, batch, 0);
    let process = recorder.named("process orders");
    assert_eq!(attribute(&process, "messaging.destination.partition.id"), None);
    assert_eq!(on_link(&process, 1, "messaging.destination.partition.id"), Some("1".into()));

    let batch = [message(1, &of, 0, 1), message(2, &other, 0, 1)].into_iter().collect();
    deliver(TracingLayer::new(recorder.tracer()), &recorder, batch, 0);
    let process = recorder.named("process");
    assert_eq!(attribute(&process, "messaging.system"), Some("kafka".into()));
    assert_eq!(attribute(&process, "messaging.destination.name"), None);
    assert_eq!(on_link(&process, 1, "messaging.destination.name"), Some("returns".into()));
    assert_eq!(on_link(&process, 1, "messaging.kafka.offset"), Some(2.into()), "by the names of its system");
    assert_eq!(recorder.named("receive").span_kind, SpanKind::Client);
}

#[test]
fn no_link_is_lost_unseen() {
    let of = orders();
    let batch = || (1..=300).map(|n| message(n, &of, 0, 1)).collect::<Batch>();
    let recorder = Recorder::new();
    deliver(TracingLayer::new(recorder.tracer()), &recorder, batch(), 0);
    let process = recorder.named("process orders");
    assert_eq!((process.links.links.len(), process.links.dropped_count), (128, 0));
    assert_eq!(attribute(&process, "throughline.links.dropped"), Some(172.into()));

    let exporter = InMemorySpanExporter::default();
    let telemetry = Telemetry::builder("t").exporter(exporter.clone()).global(false).build().unwrap();
    deliver(telemetry.tracing_layer(), &recorder, batch(), 0);
    telemetry.flush(Duration::from_secs(30)).unwrap();
    let spans = exporter.get_finished_spans().unwrap();
    let linked: Vec<_> =
        spans.iter().map(|span| (span.links.links.len(), span.links.dropped_count)).collect();
    assert_eq!(linked, [(300, 0), (300, 0)], "our own SDK takes them all, on both spans");
}

#[test]
fn where_nothing_records_each_context_passes_through_with_its_message() {
    let of = orders();
    for (layer, flags) in [
        (TracingLayer::passthrough(), 1),
        (TracingLayer::new(Recorder::new().tracer()).follow_links(true), 0),
        (TracingLayer::new(Recorder::sampling(FollowLinks::default()).tracer()), 0),
    ] {
        // Nothing is recorded of the sends either, so that they carry what they were given.
        let recorder = Recorder::sampling(opentelemetry_sdk::trace::Sampler::AlwaysOff);
        let batch = [1, 2, 3].map(|n| message(n, &of, 0, flags)).into_iter().collect();
        let (new, on) = deliver(layer, &recorder, batch, 2);
        let (new, on) = (carried(&new).unwrap(), carried(&on).unwrap());
        assert_eq!((on.span_id(), on.is_sampled()), (SpanId::from(3), flags == 1), "its own");
        assert_eq!((new.span_id(), new.is_sampled()), (SpanId::from(1), flags == 1), "that of the first");
        assert!(recorder.spans().is_empty());
    }
}

#[test]
fn one_sampled_message_makes_a_batch_sampled() {
    let recorder = Recorder::sampling(FollowLinks::default());
    let of = orders();
    let batch = [message(1, &of, 0, 0), message(2, &of, 0, 1)].into_iter().collect();
    deliver(TracingLayer::new(recorder.tracer()).follow_links(true), &recorder, batch, 0);
    assert_eq!(span_ids(&recorder.named("process orders")), [1, 2].map(SpanId::from));
}

#[test]
fn a_try_after_the_first_is_a_span_below_that_of_the_batch() {
    let recorder = Recorder::new();
    let of = orders();
    let mut service = ServiceBuilder::new().layer(TracingLayer::new(recorder.tracer())).service(Twice(
        ServiceBuilder::new().layer(AttemptLayer::new()).service_fn(|batch: Batch| async move {
            assert_eq!(batch.len(), 2);
            Err::<(), BoxError>("always".into())
        }),
    ));
    let batch = [1, 2].map(|n| message(n, &of, 0, 1)).into_iter().collect::<Batch>();
    run(async { service.ready().await?.call(batch).await }).unwrap_err();
    let (process, attempt) = (recorder.named("process orders"), recorder.named("attempt orders"));
    assert_eq!(attempt.parent_span_id, process.span_context.span_id());
    assert_eq!(span_ids(&attempt), [process.span_context.span_id()]);
    assert_eq!(attribute(&process, "error.type"), Some("_OTHER".into()));
}

struct Twice<S>(S);

impl<S> Service<Batch> for Twice<S>
where
    S: Service<Batch, Response = (), Error = BoxError> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = ();
    type Error = BoxError;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, batch: Batch) -> Self::Future {
        let (first, second) = (self.0.call(batch.clone()), self.0.clone());
        Box::pin(async move {
            first.await.unwrap_err();
            second.oneshot(batch).await
        })
    }
}

#[test]
fn the_receive_span_begins_with_the_batch_and_an_empty_one_has_no_span() {
    struct Formed(Vec<Message>, Extensions, SystemTime);
    impl Inbound for Formed {
        fn fields(&self) -> &dyn Extract {
            &()
        }
        fn extensions_mut(&mut self) -> Option<&mut Extensions> {
            Some(&mut self.1)
        }
        fn batch(&mut self) -> Option<Vec<&mut dyn Inbound>> {
            Some(self.0.iter_mut().map(|message| message as _).collect())
        }
        fn began(&self) -> Option<SystemTime> {
            Some(self.2)
        }
    }
    let recorder = Recorder::new();
    let began = SystemTime::now() - Duration::from_secs(5);
    let handle = || {
        let layer = TracingLayer::new(recorder.tracer());
        ServiceBuilder::new().layer(layer).service_fn(|_: Formed| async { Ok::<_, Infallible>(()) })
    };
    run(handle().oneshot(Formed(Vec::new(), Extensions::default(), began))).unwrap();
    assert!(recorder.spans().is_empty());
    let messages = vec![message(1, &orders(), 0, 1)];
    run(handle().oneshot(Formed(messages, Extensions::default(), began))).unwrap();
    let receive = recorder.named("poll orders");
    assert_eq!(receive.start_time, began);
    assert!(receive.end_time > began + Duration::from_secs(5));
}
