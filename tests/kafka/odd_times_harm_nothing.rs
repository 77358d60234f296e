//! FC-44: records whose time is missing, long ago, ahead of the clock, or garbage.

#[path = "../../crates/throughline-kafka/tests/common/raw.rs"]
#[allow(dead_code, reason = "the adapter's own tests send more by it")]
mod raw;

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use throughline::{Message, State, Worker, handler_with};
use throughline_test::conformance::Broker;
use throughline_tests::{Inbox, Stage, Told, kafka::Cluster};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_is_delivered_and_only_times_are_measured() {
    let cluster = Cluster::new();
    let mut stage = Stage::new(&cluster);
    let topic = cluster.fresh_name("times");
    // By default the broker refuses what is an hour ahead of its clock.
    let any = i64::MAX.to_string();
    let admin = cluster.kafka().admin();
    admin.create_topic_with(&topic, 1, &[("message.timestamp.after.max.ms", &any)]).await.unwrap();
    let ahead = SystemTime::now() + Duration::from_secs(3_600);
    let millis = ahead.duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    let ahead = UNIX_EPOCH + Duration::from_millis(millis);
    let times = [
        ("none", -1, None),
        ("zero", 0, Some(UNIX_EPOCH)),
        ("ahead", millis as i64, Some(ahead)),
        ("garbage", i64::MAX, None),
    ];
    for (name, time, _) in times {
        raw::produce_at(cluster.servers(), &topic, b"header", name.as_bytes(), time);
    }
    let (told, mut inbox) = Inbox::new();
    stage.spawn(Worker::new("w", stage.subscription(&topic), move || handler_with(told.clone(), note)));
    let seen = inbox.take(times.len()).await;
    let seen = seen.iter().map(|message| (&message.payload()[..], message.origin().unwrap().time));
    let expected = times.iter().map(|(name, _, time)| (name.as_bytes(), *time));
    assert_eq!(seen.collect::<BTreeMap<_, _>>(), expected.collect());

    let measures = stage.end_measured().await;
    let of_topic = [("messaging.destination.name", &*topic)];
    let in_queue = measures.with("throughline.message.time_in_queue", &of_topic);
    let samples = |skewed: Option<&str>| {
        let of =
            in_queue.iter().find(|series| series.attribute("throughline.clock.skewed") == skewed).unwrap();
        (of.value, of.total)
    };
    assert_eq!(samples(Some("true")), (1.0, 0.0), "ahead of the clock: clamped and marked");
    let (count, total) = samples(None);
    assert!(count == 1.0 && total > 1e9, "zero is a time: {count} samples of {total} s");
}

async fn note(message: Message, State(told): State<Told>) {
    told.tell(message);
}
