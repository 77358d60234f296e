//! FC-23: what S3 and EventBridge send beside what a typed handler expects.

use crate::site::{Account, client};
use std::time::Duration;
use throughline::{DeadLetter, Json, Message, Publisher, Redelay, State, Worker, dead_letter, handler_with};
use throughline_tests::{Inbox, Stage, Told, until};

/// The part of an event of S3's that a handler may want.
#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct S3 {
    records: Vec<serde_json::Value>,
}

const EVENT: &str = r#"{"Records":[{"s3":{"object":{"key":"a"}}}]}"#;
const BAD: [&str; 3] = [
    r#"{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"b"}"#,
    r#"{"detail-type":"t","source":"s","detail":{}}"#,
    "null",
];

/// One batch with two real events, the test event that S3 sends when a notification is set up, an empty event of
/// EventBridge and a `null`: the two are handled at their first delivery, each of the others goes its own way to the dead
/// letters with the reason, and none is deleted unseen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_real_events_of_a_batch_are_handled_and_the_others_are_set_aside() {
    let broker = Account::new();
    let mut stage = Stage::new(&broker);
    let (queue, letters) = (stage.topic(1).await, stage.topic(1).await);
    let url = broker.url(&queue).await;
    for body in [BAD[0], EVENT, BAD[1], EVENT, BAD[2]] {
        client().send_message().queue_url(&url).message_body(body).send().await.unwrap();
    }
    let ((told, mut handled), (aside, mut parked)) = (Inbox::new(), Inbox::new());
    let dead = DeadLetter::to(Publisher::with_telemetry(broker.queue(&letters), &stage.telemetry));
    let worker = Worker::new("w", stage.subscription(&queue), move || handler_with(told.clone(), take));
    let redelay = Redelay::exponential(Duration::from_secs(1), Duration::from_secs(1));
    let handle = stage.spawn(worker.dead_letter(dead).redelay(redelay));
    stage.spawn(Worker::new("letters", stage.subscription(&letters), move || {
        handler_with(aside.clone(), note)
    }));
    for event in handled.take(2).await {
        assert_eq!(event.origin().unwrap().delivery_count, 1);
    }
    let mut bodies = Vec::new();
    for letter in parked.take(3).await {
        assert!(letter.headers().get(dead_letter::REASON).is_some());
        assert_eq!(letter.headers().get(dead_letter::ATTEMPTS).map(|n| &n[..]), Some(&b"1"[..]));
        bodies.push(String::from_utf8(letter.payload().to_vec()).unwrap());
    }
    bodies.sort();
    let mut expected = BAD.map(str::to_owned).to_vec();
    expected.sort();
    assert_eq!(bodies, expected);
    until("all are counted", || (handle.status().counts.acked, handle.status().counts.put_aside) == (2, 3))
        .await;
    stage.end().await;
    assert_eq!(broker.counts(&queue).await, [0; 3]);
}

async fn take(Json(S3 { records }): Json<S3>, message: Message, State(told): State<Told>) {
    assert_eq!(records.len(), 1);
    told.tell(message);
}

async fn note(message: Message, State(told): State<Told>) {
    told.tell(message);
}
