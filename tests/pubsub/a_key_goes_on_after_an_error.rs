//! An ordering key that failed: nothing of it overtakes what failed, and it goes on when it is sent again.

use crate::site::{Project, full};
use throughline::{Error, ErrorKind, Message};
use throughline_tests::Stage;

/// The topic is away for a while: whatever is sent meanwhile is told to have failed, in whole; sent again, all comes once and
/// in order. A second outage finds the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_overtaken_when_it_is_sent_again() {
    const KEYS: u32 = 20;
    const EACH: u32 = 5;
    let broker = Project::new();
    let stage = Stage::new(&broker);
    let topic = stage.topic(1).await;
    let publisher = stage.publisher(&topic);
    let round = |round: u32| {
        (0..EACH * KEYS).map(move |n| {
            let (key, n) = (n % KEYS, round * EACH + n / KEYS);
            Message::new(n.to_string()).with_key(format!("k{key}"))
        })
    };
    assert!(publisher.send_all(round(0)).await.iter().all(Result::is_ok));
    let topics = broker.topics().await;
    for outage in 0..2 {
        let before = broker.read(&topic, (EACH * KEYS) as usize).await;
        check(&before, outage * EACH, EACH);
        topics.delete_topic().set_topic(full("topics", &topic)).send().await.unwrap();
        for result in publisher.send_all(round(outage + 1)).await {
            let error = result.unwrap_err().downcast::<Error>().unwrap();
            assert!(matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Broker), "{error}");
            assert!(error.kind() == ErrorKind::NotFound || error.is_retriable(), "held back: {error}");
        }
        let subscriptions = broker.subscriptions().await;
        let subscription = full("subscriptions", &Project::subscription_of(&topic));
        subscriptions.delete_subscription().set_subscription(subscription).send().await.unwrap();
        broker.create(&topic, |new| new.ordering(true)).await.unwrap();
        for result in publisher.send_all(round(outage + 1)).await {
            result.unwrap();
        }
    }
    check(&broker.read(&topic, (EACH * KEYS) as usize).await, 2 * EACH, EACH);
    stage.end().await;
}

/// These numbers of each key, in order.
fn check(came: &[google_cloud_pubsub::model::Message], first: u32, count: u32) {
    let mut keys = std::collections::BTreeMap::<_, Vec<u32>>::new();
    for raw in came {
        let number = std::str::from_utf8(&raw.data).unwrap().parse().unwrap();
        keys.entry(raw.ordering_key.clone()).or_default().push(number);
    }
    let expected: Vec<u32> = (first..first + count).collect();
    assert!(keys.values().all(|numbers| *numbers == expected), "{keys:?}");
}
