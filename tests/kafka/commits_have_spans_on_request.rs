//! Automatic commits are measured; they have a CLIENT span each where that is asked for.

use throughline::{Message, Worker, handler_with};
use throughline_test::Kind;
use throughline_tests::{Inbox, Site, Stage, eventually, kafka::Cluster};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_commit_is_a_span_with_its_number_of_messages() {
    let (spans, measured) = commits(true).await;
    assert_eq!(spans.iter().map(|(_, messages)| messages).sum::<u64>(), 10, "{spans:?}");
    assert!(spans.iter().all(|(kind, _)| *kind == Kind::Client));
    assert_eq!(spans.len() as f64, measured);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_asking_they_are_only_measured() {
    let (spans, measured) = commits(false).await;
    assert_eq!(spans, []);
    assert!(measured >= 1.0, "{measured}");
}

/// Kind and number of messages of each commit span, and how many commits were measured.
async fn commits(asked: bool) -> (Vec<(Kind, u64)>, f64) {
    let cluster = Cluster::new();
    let mut stage = Stage::with(&cluster, |telemetry| telemetry.commit_spans(asked));
    let topic = stage.topic(1).await;
    let (told, mut inbox) = Inbox::new();
    stage.spawn(Worker::new("w", stage.subscription(&topic), move || handler_with(told.clone(), note)));
    for receipt in stage.publisher(&topic).send_all((0..10).map(|n| Message::new(n.to_string()))).await {
        receipt.unwrap();
    }
    inbox.take(10).await;
    let group = Stage::<Cluster>::group(&topic);
    eventually("all is committed", || cluster.committed(&topic, &group), |at| at.get(&0) == Some(&10)).await;
    stage.drain().await;
    let (graph, measures) = (stage.graph().await, stage.measures().await);
    let name = format!("commit {topic}");
    let spans = graph.spans().iter().filter(|span| span.name == name);
    let count = |name: &str| name.parse().unwrap();
    let of = |span: &throughline_test::SpanRecord| {
        assert_eq!(span.text("messaging.operation.type").as_deref(), Some("settle"));
        assert_eq!(span.text("messaging.consumer.group.name"), Some(group.clone()));
        (span.kind, count(&span.text("messaging.batch.message_count").unwrap()))
    };
    let at = [("messaging.destination.name", &*topic), ("messaging.operation.name", "commit")];
    (spans.map(of).collect(), measures.sum("messaging.client.operation.duration", &at))
}

async fn note(message: Message, throughline::State(told): throughline::State<throughline_tests::Told>) {
    told.tell(message);
}
