//! FC-38: a message with as many attributes as there may be is put aside at its first delivery.

use crate::site::Project;
use google_cloud_pubsub::model::Message as Raw;
use std::collections::HashMap;
use throughline::{DeadLetter, Message, Rejected, State, Worker, dead_letter, handler_with};
use throughline_test::{Graph, Kind};
use throughline_tests::{Inbox, Stage, Told, until};

const OWN: usize = 98;

/// Rejected at its first delivery: the letter has the 98 unchanged, within a hundred attributes what it was and why it
/// failed, and one context, which is new; only then is the message done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_rejected_is_parked_with_all_it_had() {
    let broker = Project::new();
    let mut stage = Stage::new(&broker);
    let (topic, letters) = (stage.topic(1).await, stage.topic(1).await);
    let own: HashMap<String, String> = (0..OWN).map(|n| (format!("own-{n}"), format!("value {n}"))).collect();
    let stale = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let noted = [("googclient_traceparent", stale), ("googclient_deliveryattempt", "1")];
    let noted = noted.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let raw =
        Raw::new().set_data("x").set_ordering_key("k").set_attributes(own.clone().into_iter().chain(noted));
    let id = broker.publisher(&topic).await.publish(raw).await.unwrap();
    let (told, mut inbox) = Inbox::new();
    let dead = DeadLetter::to(stage.publisher(&letters));
    let stack = move || handler_with(told.clone(), refuse);
    let handle = stage.spawn(Worker::new("w", stage.subscription(&topic), stack).dead_letter(dead));
    let came = inbox.next().await;
    until("it is put aside", || handle.status().counts.put_aside == 1).await;
    assert_eq!(handle.status().counts.received, 1, "one delivery");
    assert_eq!(handle.status().counts.nacked, 0);
    let letter = broker.read(&letters, 1).await.remove(0);
    assert!(letter.attributes.len() <= 100);
    assert!(own.iter().all(|(name, value)| letter.attributes.get(name) == Some(value)));
    assert_eq!((&letter.data[..], &*letter.ordering_key), (&b"x"[..], "k"));
    let googles = letter.attributes.keys().filter(|name| name.starts_with("goog"));
    assert!(googles.into_iter().all(|name| letter.attributes[name] == letter.attributes["traceparent"]));
    assert_ne!(letter.attributes["traceparent"], stale);

    // What was packed for want of room is headers again to whoever looks after the letters.
    let worker_of_letters = stage.publisher(&letters);
    worker_of_letters.send(copy_of(&letter)).await.unwrap();
    let (told, mut inbox) = Inbox::new();
    let stack = move || handler_with(told.clone(), note);
    stage.spawn(Worker::new("letters", stage.subscription(&letters), stack));
    let read = inbox.next().await;
    let field = |name: &str| {
        let value = read.headers().get(name).unwrap_or_else(|| panic!("{name} of {read:?}"));
        String::from_utf8(value.to_vec()).unwrap()
    };
    let time = came.origin().unwrap().time.unwrap().duration_since(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(field(dead_letter::ID), id);
    assert_eq!(field(dead_letter::TIME), time.as_millis().to_string());
    assert_eq!(field(dead_letter::DESTINATION), topic);
    assert_eq!(field(dead_letter::SUBSCRIPTION), Project::subscription_of(&topic));
    assert_eq!(field(dead_letter::ERROR_TYPE), "rejected");
    assert_eq!(field(dead_letter::REASON), "message rejected: never");
    assert_eq!(field(dead_letter::TRACEPARENT), stale);
    let graph = stage.end().await;
    assert!(leads_to_the_send(&graph, &letter.attributes["traceparent"], &letters));
}

/// A raw message as one of ours, with the attributes that it has.
fn copy_of(raw: &Raw) -> Message {
    let message = Message::new(raw.data.clone()).with_key(raw.ordering_key.clone());
    let own = raw.attributes.iter().filter(|(name, _)| !name.starts_with("goog"));
    own.fold(message, |message, (name, value)| message.with_header(name.clone(), value.clone()))
}

fn leads_to_the_send(graph: &Graph, context: &str, letters: &str) -> bool {
    let name = format!("send {letters}");
    let sends = graph.spans().iter().filter(|span| span.kind == Kind::Producer && span.name == name);
    sends.into_iter().any(|span| context.contains(&span.id.to_string()))
}

async fn refuse(message: Message, State(told): State<Told>) -> Result<(), Rejected> {
    told.tell(message);
    Err(Rejected::new("never"))
}

async fn note(message: Message, State(told): State<Told>) {
    told.tell(message);
}
