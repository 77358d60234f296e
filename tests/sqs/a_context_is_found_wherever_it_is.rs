//! Contexts as others send them: in attributes, in envelopes, in the X-Ray header. FC-41.

use crate::site::{Account, client};
use aws_sdk_sqs::types::{
    MessageAttributeValue, MessageSystemAttributeName, MessageSystemAttributeNameForSends,
    MessageSystemAttributeValue,
};
use opentelemetry::{
    Context, SpanId, TraceFlags, TraceId,
    propagation::{Extractor, Injector, TextMapPropagator, text_map_propagator::FieldIter},
    trace::{SpanContext, TraceContextExt, TraceState},
};
use std::{process::Command, sync::LazyLock};
use throughline::{Message, Relation, State, TelemetryBuilder, Worker, handler_with};
use throughline_test::{SpanRecord, SpanRef};
use throughline_tests::{Inbox, Stage, Told};

const W3C: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const XRAY: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0";

/// What a sender of another kind puts on the queue.
#[derive(Default)]
struct Foreign {
    body: String,
    traceparent: Option<&'static str>,
    xray: Option<&'static str>,
}

/// The process span of it, and the message as its handler got it.
async fn handled(
    foreign: Foreign,
    unwrap: bool,
    change: impl FnOnce(TelemetryBuilder) -> TelemetryBuilder,
) -> (SpanRecord, Message) {
    let broker = Account::new();
    let mut stage = Stage::with(&broker, change);
    let queue = stage.topic(1).await;
    let (told, mut inbox) = Inbox::new();
    // Whatever the user asks for: nothing of a context here.
    let subscription = stage.subscription(&queue).attributes(["only-this"]).unwrap_sns(unwrap);
    stage.spawn(Worker::new("w", subscription, move || handler_with(told.clone(), note)));
    let mut send = client().send_message().queue_url(broker.url(&queue).await).message_body(foreign.body);
    if let Some(value) = foreign.traceparent {
        let value = MessageAttributeValue::builder().data_type("String").string_value(value).build().unwrap();
        send = send.message_attributes("traceparent", value);
    }
    if let Some(value) = foreign.xray {
        let value = MessageSystemAttributeValue::builder().data_type("String").string_value(value);
        let name = MessageSystemAttributeNameForSends::AwsTraceHeader;
        send = send.message_system_attributes(name, value.build().unwrap());
    }
    send.send().await.unwrap();
    let message = inbox.next().await;
    let graph = stage.end().await;
    let name = format!("process {queue}");
    (graph.spans().iter().find(|span| span.name == name).unwrap().clone(), message)
}

async fn note(message: Message, State(told): State<Told>) {
    told.tell(message);
}

fn plain(builder: TelemetryBuilder) -> TelemetryBuilder {
    builder
}

/// X-Ray's format, as AWS's own propagator writes and reads it.
#[derive(Debug)]
struct XRay;

const FIELD: &str = "x-amzn-trace-id";

impl TextMapPropagator for XRay {
    fn inject_context(&self, context: &Context, injector: &mut dyn Injector) {
        let span = context.span();
        let of = span.span_context();
        let (trace, sampled) = (of.trace_id().to_string(), u8::from(of.is_sampled()));
        let root = format!("1-{}-{}", &trace[..8], &trace[8..]);
        injector.set(FIELD, format!("Root={root};Parent={};Sampled={sampled}", of.span_id()));
    }

    fn extract_with_context(&self, context: &Context, extractor: &dyn Extractor) -> Context {
        let Some(header) = extractor.get(FIELD) else { return context.clone() };
        let part = |name: &str| header.split(';').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
        let trace = part("Root").unwrap().trim_start_matches("1-").replace('-', "");
        let trace = TraceId::from_hex(&trace).unwrap();
        let span = SpanId::from_hex(part("Parent").unwrap()).unwrap();
        let flags = if part("Sampled") == Some("1") { TraceFlags::SAMPLED } else { TraceFlags::default() };
        context.with_remote_span_context(SpanContext::new(trace, span, flags, true, TraceState::NONE))
    }

    fn fields(&self) -> FieldIter<'_> {
        static FIELDS: LazyLock<[String; 1]> = LazyLock::new(|| [FIELD.into()]);
        FieldIter::new(&*FIELDS)
    }
}

/// (c) With that format configured too, or alone, there is one link, and no parent: the same header is not read twice. And
/// what is sent carries the header where AWS has its place for it.
#[test]
fn with_xrays_own_format_there_is_one_link_too() {
    // A process cannot change its environment soundly.
    for formats in ["tracecontext,baggage,xray", "xray"] {
        let mut child = Command::new(std::env::current_exe().unwrap());
        let case = concat!(module_path!(), "::in_the_formats_of_the_environment");
        child.args(["--exact", case.split_once("::").unwrap().1, "--nocapture"]);
        let ended =
            child.env("OTEL_PROPAGATORS", formats).env("THROUGHLINE_FORMATS", formats).output().unwrap();
        assert!(ended.status.success(), "{formats}: {ended:?}");
        assert!(String::from_utf8_lossy(&ended.stdout).contains("1 passed"), "{ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_the_formats_of_the_environment() {
    let Ok(formats) = std::env::var("THROUGHLINE_FORMATS") else { return };
    let with_xray = |builder: TelemetryBuilder| builder.propagator("xray", XRay);
    let both = Foreign { body: "x".into(), traceparent: Some(W3C), xray: Some(XRAY) };
    let (span, _) = handled(both, true, with_xray).await;
    let (expected, from) = if formats == "xray" { (xray(), Some("xray")) } else { (w3c(), None) };
    assert_eq!(span.links.iter().map(|link| link.to).collect::<Vec<_>>(), [expected]);
    assert_eq!((place(&span).as_deref(), span.parent), (from, None));
    let alone = |builder| with_xray(builder).relation(Relation::ParentAndLink);
    let (span, _) =
        handled(Foreign { body: "x".into(), xray: Some(XRAY), ..Foreign::default() }, true, alone).await;
    assert_eq!(span.links.iter().map(|link| link.to).collect::<Vec<_>>(), [xray()]);
    assert_eq!((place(&span).as_deref(), span.parent), (Some("xray"), None));

    let broker = Account::new();
    let stage = Stage::with(&broker, with_xray);
    let queue = stage.topic(1).await;
    stage.publisher(&queue).send(Message::new("x")).await.unwrap();
    let ask = client().receive_message().queue_url(broker.url(&queue).await).wait_time_seconds(20);
    let name = MessageSystemAttributeName::AwsTraceHeader;
    let came = ask.message_attribute_names("All").message_system_attribute_names(name.clone()).send().await;
    let came = came.unwrap().messages.unwrap().remove(0);
    assert!(came.attributes.unwrap()[&name].starts_with("Root=1-"));
    assert_eq!(came.message_attributes.unwrap_or_default().len(), usize::from(formats != "xray"));
    stage.end().await;
}

fn w3c() -> SpanRef {
    "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7".parse().unwrap()
}

fn xray() -> SpanRef {
    "5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8".parse().unwrap()
}

fn place(span: &SpanRecord) -> Option<String> {
    span.links[0].attributes.get("throughline.context.place").map(|value| value.as_str().unwrap().to_owned())
}

/// (a) With a context of the producer's own, the header that AWS added is not looked at: one link.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attribute_wins_over_an_unrelated_xray_header() {
    let foreign = Foreign { body: "x".into(), traceparent: Some(W3C), xray: Some(XRAY) };
    let (span, message) = handled(foreign, true, plain).await;
    assert_eq!(span.links.iter().map(|link| link.to).collect::<Vec<_>>(), [w3c()]);
    assert_eq!((place(&span), message.headers().len()), (None, 1));
}

/// (b) Alone, it is linked to and says where it came from; it is no parent, and that it is not sampled decides nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_xray_header_alone_is_a_marked_link_that_decides_nothing() {
    for relation in [Relation::Link, Relation::ParentAndLink] {
        let foreign = Foreign { body: "x".into(), xray: Some(XRAY), ..Foreign::default() };
        let (span, message) = handled(foreign, true, |builder| builder.relation(relation)).await;
        assert_eq!(span.links.iter().map(|link| link.to).collect::<Vec<_>>(), [xray()]);
        assert_eq!((place(&span).as_deref(), span.parent), (Some("xray"), None));
        assert!(message.headers().is_empty(), "the headers are those of the producer");
    }
}

/// Wrapped by SNS: payload and context are those inside, for the handler too; with the envelope kept, the context is still
/// found.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_sns_wrapped_is_unwrapped_or_kept() {
    let body = format!(
        r#"{{"Type":"Notification","MessageId":"s","TopicArn":"arn:aws:sns:eu-west-1:1:t","Message":"inner",
        "MessageAttributes":{{"traceparent":{{"Type":"String","Value":"{W3C}"}}}}}}"#
    );
    for unwrap in [true, false] {
        let foreign = Foreign { body: body.clone(), xray: Some(XRAY), ..Foreign::default() };
        let (span, message) = handled(foreign, unwrap, plain).await;
        assert_eq!(span.links.iter().map(|link| link.to).collect::<Vec<_>>(), [w3c()]);
        if unwrap {
            assert_eq!((place(&span), message.payload().as_ref()), (None, &b"inner"[..]));
        } else {
            assert_eq!((place(&span).as_deref(), message.payload().as_ref()), (Some("sns"), body.as_bytes()));
        }
    }
}

/// An event of EventBridge whose publisher wrote a context into its detail.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_carries_its_context_in_its_detail() {
    let body = format!(r#"{{"detail-type":"t","source":"s","detail":{{"traceparent":"{W3C}"}}}}"#);
    let foreign = Foreign { body: body.clone(), xray: Some(XRAY), ..Foreign::default() };
    let (span, message) = handled(foreign, true, plain).await;
    assert_eq!(span.links.iter().map(|link| link.to).collect::<Vec<_>>(), [w3c()]);
    assert_eq!(place(&span).as_deref(), Some("eventbridge"));
    assert_eq!(message.payload().as_ref(), body.as_bytes());
}
