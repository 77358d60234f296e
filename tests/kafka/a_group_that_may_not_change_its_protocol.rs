//! FC-59: where the broker lets no group change its protocol, a member that speaks the other one is told so, and the
//! group's own go on.

use std::time::Duration;
use throughline::{
    Message, State, Worker, WorkerState, handler_with,
    kafka::{Kafka, KafkaSubscription},
};
use throughline_tests::{Inbox, Stage, Told, kafka::Cluster};
use tokio::{task::block_in_place, time::timeout};
use xtask::OwnKafka;

/// How soon it is told.
const SOON: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tells_who_speaks_another_one() {
    let builder = OwnKafka::builder().property("group.consumer.migration.policy", "disabled");
    let broker = block_in_place(|| builder.start()).unwrap();
    let cluster = Cluster::at(broker.address());
    let classic = cluster.kafka().clone();
    let newer = Kafka::new(cluster.servers()).set("group.protocol", "consumer");
    for (member, other, words) in [
        (&classic, &newer, ["classic", "group.protocol=consumer", "migration.policy"]),
        (&newer, &classic, ["another protocol", "stop them all", "group.protocol=consumer"]),
    ] {
        let mut stage = Stage::new(&cluster);
        let topic = stage.topic(2).await;
        let subscription = |kafka: &Kafka| kafka.group(&topic).topic(&topic);
        let (told, mut inbox) = Inbox::new();
        let first = stage.spawn(worker("first", subscription(member), told));
        stage.publish(&topic, 0..10).await;
        inbox.take(10).await;

        let (told, _nothing) = Inbox::new();
        let second = stage.spawn(worker("second", subscription(other), told));
        let status = timeout(SOON, second.ended()).await.expect("it is told soon");
        let error = status.error.unwrap_or_default();
        assert!(status.state == WorkerState::Failed && status.restarts == 0, "{error}");
        for word in words {
            assert!(error.contains(word), "{word}: {error}");
        }
        stage.publish(&topic, 10..20).await;
        inbox.take(10).await;
        assert_eq!((first.status().state, first.status().restarts), (WorkerState::Running, 0));
        // Its end is no clean one: a worker of it gave up.
        let _ = stage.runtime().until(std::future::ready(())).await;
    }
}

fn worker(name: &str, subscription: KafkaSubscription, told: Told) -> Worker {
    Worker::new(name, subscription, move || handler_with(told.clone(), note))
}

async fn note(message: Message, State(told): State<Told>) {
    told.tell(message);
}
