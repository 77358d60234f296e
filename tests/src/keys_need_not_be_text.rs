//! FC-17: keys are bytes.

use crate::{
    Inbox, Site, Stage, Told,
    steps::{number, of_kind},
    until,
};
use bytes::Bytes;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};
use throughline::{Message, State, Worker, handler_with};
use throughline_test::{Expect, Kind};
use tokio::sync::Barrier;

/// Two messages of each key, keys of every sort: the same bytes are one lane, also no bytes; no key is none. The key is
/// an attribute only if it is text, and then not a long one.
pub async fn equal_bytes_are_a_lane_and_null_is_none<B: Site>(broker: &B) {
    let mut stage = Stage::new(broker);
    let topic = stage.topic(1).await;
    let (told, mut inbox) = Inbox::new();
    let watch = Arc::new(Watch { running: Mutex::default(), both: Barrier::new(2) });
    let state = (told, watch);
    let handle =
        stage.spawn(Worker::new("w", stage.subscription(&topic), move || handler_with(state.clone(), look)));
    let publisher = stage.publisher(&topic);
    for (n, key) in keys().into_iter().chain(keys()).enumerate() {
        let message = Message::new(n.to_string());
        let message = match key {
            Some(key) => message.with_key(key),
            None => message,
        };
        publisher.send(message).await.unwrap();
    }
    let mut order = BTreeMap::<Option<Bytes>, Vec<u64>>::new();
    for message in inbox.take(2 * keys().len()).await {
        order.entry(message.key().cloned()).or_default().push(number(&message));
    }
    for (n, key) in keys().into_iter().enumerate().filter(|(_, key)| key.is_some()) {
        assert_eq!(order[&key], [n as u64, (n + keys().len()) as u64], "in order");
    }
    until("no lane is left", || handle.status().waiting == 0 && handle.status().in_flight == 0).await;
    let graph = stage.end().await;
    graph.check(&Expect::new().sends(10).process_spans(10).components(10)).unwrap();
    if B::NAME == "kafka" {
        for kind in [Kind::Consumer, Kind::Producer] {
            let spans = of_kind(&graph, kind);
            let keys: Vec<_> = spans.iter().filter_map(|s| s.text("messaging.kafka.message.key")).collect();
            assert_eq!(keys.iter().filter(|key| key.is_empty()).count(), 2, "the empty key is text");
            assert_eq!(keys.len(), 4, "only text is recorded");
            assert!(keys.iter().all(|key| key.len() <= 256), "and not much of it");
        }
    }
}

fn keys() -> Vec<Option<Bytes>> {
    let key = |bytes: &'static [u8]| Some(Bytes::from_static(bytes));
    let long = Some(Bytes::from(vec![b'a'; 1 << 20]));
    vec![key(b"\x00\x00\x00\x00\x2a"), key(b"\xff"), key(b""), None, long]
}

/// Which keys run, and where the two without a key meet.
struct Watch {
    running: Mutex<Vec<Bytes>>,
    both: Barrier,
}

async fn look(message: Message, State((told, watch)): State<(Told, Arc<Watch>)>) {
    match message.key().cloned() {
        None => {
            // Comes to its end only if the two run side by side.
            watch.both.wait().await;
        }
        Some(key) => {
            {
                let mut running = watch.running.lock().unwrap();
                assert!(!running.contains(&key), "two of a key at once");
                running.push(key.clone());
            }
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            watch.running.lock().unwrap().retain(|other| *other != key);
        }
    }
    told.tell(message);
}
