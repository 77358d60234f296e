//! Contexts as others send them: in attributes, in envelopes, in the X-Ray header. FC-41.

use crate::site::{Account, client};
use aws_sdk_sqs::types::{
    MessageAttributeValue, MessageSystemAttributeNameForSends, MessageSystemAttributeValue,
};
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
