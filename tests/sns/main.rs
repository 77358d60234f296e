//! What SNS delivers to a queue, through a server that has both.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says that it failed by a panic")]

use aws_sdk_sqs::{
    Client, Config,
    config::{BehaviorVersion, Credentials, Region},
};
use std::{collections::HashMap, time::Duration};
use throughline::{
    Message, Runtime, State, Telemetry, Worker, handler_with,
    sqs::{Sqs, SqsMetadata},
};
use throughline_test::{Expect, Graph, SpanRef};
use throughline_tests::{Inbox, Told, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// `host:port` of the server that the test command started. Without one a test fails: it must not pass unseen.
fn address() -> String {
    std::env::var("THROUGHLINE_SNS").expect(
        "THROUGHLINE_SNS=host:port names the server; run `cargo xtask test`, which starts one and sets it",
    )
}

/// Raw: the attributes of SNS are those of SQS.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_raw_delivery_keeps_its_trace() {
    let (message, graph) = delivered(true, true).await;
    assert_eq!(message.payload().as_ref(), b"hello");
    assert_eq!(message.extensions().get::<SqsMetadata>().unwrap().sns, None);
    linked(&graph);
}

/// Wrapped: the handler gets what was published, and what SNS says of it beside that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrapped_delivery_is_unwrapped_and_keeps_its_trace() {
    let (message, graph) = delivered(false, true).await;
    assert_eq!(message.payload().as_ref(), b"hello");
    assert_eq!(message.headers().get("traceparent").map(|value| &value[..]), Some(TRACEPARENT.as_bytes()));
    let sns = message.extensions().get::<SqsMetadata>().unwrap().sns.clone().unwrap();
    assert!(sns.topic_arn.starts_with("arn:aws:sns:") && !sns.message_id.is_empty(), "{sns:?}");
    linked(&graph);
}

/// With unwrapping switched off the handler gets the envelope, and the trace is kept all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_envelope_that_stays_keeps_its_trace_too() {
    let (message, graph) = delivered(false, false).await;
    let body = String::from_utf8_lossy(message.payload()).into_owned();
    assert!(body.contains("\"Notification\"") && body.contains("hello"), "{body}");
    assert!(message.headers().is_empty());
    linked(&graph);
}

/// One process span, with one link: that of the publisher.
fn linked(graph: &Graph) {
    let creation: SpanRef = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7".parse().unwrap();
    graph.check(&Expect::new().spans(1).process_spans(1).links(1)).unwrap();
    let span = graph.spans().iter().find(|span| span.name.starts_with("process")).unwrap();
    assert_eq!(span.links[0].to, creation);
}

/// Publishes on a topic with a queue behind it; gives the message as its handler got it, and the spans.
async fn delivered(raw: bool, unwrap: bool) -> (Message, Graph) {
    let name = format!("sns-{:08x}", fastrand::u32(..));
    let endpoint = format!("http://{}", address());
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("us-east-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .endpoint_url(&endpoint);
    let client = Client::from_conf(config.build());
    client.create_queue().queue_name(&name).send().await.unwrap();
    let topic = format!("arn:aws:sns:us-east-1:000000000000:{name}");
    let queue = format!("arn:aws:sqs:us-east-1:000000000000:{name}");
    sns(&[("Action", "CreateTopic"), ("Name", &name)]).await;
    let raw = [
        ("Attributes.entry.1.key", "RawMessageDelivery"),
        ("Attributes.entry.1.value", if raw { "true" } else { "false" }),
    ];
    let subscribe =
        [("Action", "Subscribe"), ("TopicArn", &topic), ("Protocol", "sqs"), ("Endpoint", &queue)];
    sns(&[subscribe.as_slice(), &raw].concat()).await;
    sns(&[
        ("Action", "Publish"),
        ("TopicArn", &topic),
        ("Message", "hello"),
        ("MessageAttributes.entry.1.Name", "traceparent"),
        ("MessageAttributes.entry.1.Value.DataType", "String"),
        ("MessageAttributes.entry.1.Value.StringValue", TRACEPARENT),
    ])
    .await;
    let exporter = opentelemetry_sdk::trace::InMemorySpanExporter::default();
    let telemetry = Telemetry::builder("test").exporter(exporter.clone()).global(false).build().unwrap();
    let mut runtime = Runtime::new(telemetry.clone()).unwrap();
    let (told, mut inbox) = Inbox::new();
    let subscription =
        Sqs::from_client(client).subscribe(name).wait(Duration::from_secs(1)).unwrap_sns(unwrap);
    runtime.spawn(Worker::new("w", subscription, move || handler_with(told.clone(), note)));
    let message = inbox.next().await;
    within("the drain", runtime.until(std::future::ready(()))).await.unwrap();
    telemetry.flushed(Duration::from_secs(10)).await.unwrap();
    let creation: SpanRef = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7".parse().unwrap();
    (message, Graph::new(exporter.get_finished_spans().unwrap()).external(creation))
}

async fn note(message: Message, State(told): State<Told>) {
    told.tell(message);
}

/// One call in the query protocol of SNS, for which there is no client here: publishing to SNS is no part of the adapter.
async fn sns(parameters: &[(&str, &str)]) {
    let all: HashMap<_, _> = parameters.iter().copied().chain([("Version", "2010-03-31")]).collect();
    // Nothing in here needs escaping.
    let body = all.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&");
    let request = format!(
        "POST / HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\
         Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/sns/aws4_request, SignedHeaders=host, \
         Signature=x\r\nConnection: close\r\n\r\n{body}",
        address(),
        body.len()
    );
    let mut stream = TcpStream::connect(address()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
