//! `tracing` spans of the user's, by way of tracing-opentelemetry.

use crate::{
    Inbox, Site, Stage, Told,
    steps::{copy, named},
};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
use throughline::{BoxError, Message, Publisher, State, Telemetry, Worker, handler_with};
use throughline_test::{Expect, Graph};
use tracing::{Dispatch, Instrument, instrument::WithSubscriber, level_filters::LevelFilter};
use tracing_subscriber::{Layer, layer::SubscriberExt};

/// A `tracing` span in a handler is below the process span, and a send inside it is below that.
pub async fn a_log_span_is_between_process_and_send<B: Site>(broker: &B) {
    let (graph, topics) = handle(broker, LevelFilter::INFO).await;
    graph.check(&Expect::new().spans(4).sends(2).process_spans(1).links(1).components(1)).unwrap();
    let process = named(&graph, &format!("{} {}", B::PROCESS, topics[0]))[0];
    let work = named(&graph, "work")[0];
    assert_eq!(work.parent, Some(process.id));
    assert_eq!(named(&graph, &format!("send {}", topics[1]))[0].parent, Some(work.id));
}

/// A log filter that lets nothing through takes the `tracing` span away, and nothing of the trace.
pub async fn a_log_filter_cuts_nothing<B: Site>(broker: &B) {
    let (graph, topics) = handle(broker, LevelFilter::OFF).await;
    graph.check(&Expect::new().spans(3).sends(2).process_spans(1).links(1).components(1)).unwrap();
    let process = named(&graph, &format!("{} {}", B::PROCESS, topics[0]))[0];
    assert_eq!(named(&graph, &format!("send {}", topics[1]))[0].parent, Some(process.id));
}

async fn handle<B: Site>(broker: &B, level: LevelFilter) -> (Graph, [String; 2]) {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let logs = tracing_opentelemetry::layer().with_tracer(provider.tracer("logs")).with_filter(level);
    // Of this scenario alone: a global one would be everybody's.
    let subscriber = Dispatch::new(tracing_subscriber::registry().with(logs));
    let mut stage = Stage::of(broker, exporter, Telemetry::from_provider(provider));
    let topics = [stage.topic(1).await, stage.topic(1).await];
    let (told, mut inbox) = Inbox::new();
    let state = (stage.publisher(&topics[1]), subscriber, told);
    stage.spawn(Worker::new("w", stage.subscription(&topics[0]), move || handler_with(state.clone(), work)));
    stage.publisher(&topics[0]).send(Message::new("1")).await.unwrap();
    inbox.next().await;
    (stage.end().await, topics)
}

async fn work(
    message: Message,
    State((onward, subscriber, told)): State<(Publisher, Dispatch, Told)>,
) -> Result<(), BoxError> {
    let span = tracing::dispatcher::with_default(&subscriber, || tracing::info_span!("work"));
    let send = async {
        tokio::task::yield_now().await;
        onward.send(copy(&message)).await
    };
    send.instrument(span).with_subscriber(subscriber).await?;
    told.tell(message);
    Ok(())
}
