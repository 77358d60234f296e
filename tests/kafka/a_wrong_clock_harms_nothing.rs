//! FC-44: record times that make no sense beside our clock.

use std::time::{Duration, SystemTime};
use throughline::{Message, State, Worker, handler_with, kafka::Kafka};
use throughline_tests::{Inbox, Stage, Told, kafka::Cluster};

/// Just after 1970, two hours ahead, and in the last year that is one: each is delivered, and those ahead wait 0 s and
/// are marked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn times_ahead_of_the_clock_are_clamped_and_marked() {
    let cluster = Cluster::new();
    let mut stage = Stage::new(&cluster);
    let topic = format!("clocks-{:08x}", fastrand::u32(..));
    let any_time = [("message.timestamp.after.max.ms", "9223372036854775807"), ("retention.ms", "-1")];
    Kafka::new(cluster.servers()).admin().create_topic_with(&topic, 1, &any_time).await.unwrap();
    let (told, mut inbox) = Inbox::new();
    stage.spawn(Worker::new("w", stage.subscription(&topic), move || handler_with(told.clone(), note)));
    let since_1970 = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let times = [since_1970(1), SystemTime::now() + Duration::from_secs(7200), since_1970(253_402_000_000)];
    let publisher = stage.publisher(&topic);
    for time in times {
        publisher.send(Message::new("m").with_time(time)).await.unwrap();
    }
    inbox.take(3).await;
    stage.drain().await;
    let measures = stage.measures().await;
    let name = "throughline.message.time_in_queue";
    let at = [("messaging.destination.name", &*topic)];
    assert_eq!(measures.sum(name, &at), 3.0);
    let skewed = measures.with(name, &[at[0], ("throughline.clock.skewed", "true")]);
    assert_eq!(skewed.iter().map(|series| (series.value, series.total)).collect::<Vec<_>>(), [(2.0, 0.0)]);
}

async fn note(message: Message, State(told): State<Told>) {
    told.tell(message);
}
