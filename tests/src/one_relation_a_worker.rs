//! `Relation::ParentAndLink`.

use crate::{
    Inbox, Site, Stage,
    steps::{named, note, pass_on},
};
use std::time::{Duration, SystemTime};
use throughline::{Message, Relation, Worker, handler_with};
use throughline_test::Expect;

/// Two hops are one trace, and every process span both a child of the send and linked to it; a third worker on the
/// same telemetry keeps the default.
pub async fn parent_and_link_is_one_trace<B: Site>(broker: &B) {
    let mut stage = Stage::new(broker);
    let topics = [stage.topic(1).await, stage.topic(1).await, stage.topic(1).await];
    for pair in topics.windows(2) {
        let onward = stage.publisher(&pair[1]);
        stage.spawn(
            Worker::new("hop", stage.subscription(&pair[0]), move || handler_with(onward.clone(), pass_on))
                .relation(Relation::ParentAndLink),
        );
    }
    let (told, mut inbox) = Inbox::new();
    stage
        .spawn(Worker::new("last", stage.subscription(&topics[2]), move || handler_with(told.clone(), note)));
    stage.publisher(&topics[0]).send(Message::new("1")).await.unwrap();
    inbox.next().await;
    let graph = stage.end().await;

    let expect = Expect::new().spans(6).sends(3).process_spans(3).links(3).traces(2).components(1);
    graph.check(&expect).unwrap();
    for topic in &topics[..2] {
        let send = named(&graph, &format!("send {topic}"))[0];
        let process = named(&graph, &format!("{} {topic}", B::PROCESS))[0];
        assert_eq!(process.parent, Some(send.id));
        assert!(process.parent_is_remote);
        assert_eq!(process.links.iter().map(|link| link.to).collect::<Vec<_>>(), [send.id]);
    }
    assert_eq!(named(&graph, &format!("{} {}", B::PROCESS, topics[2]))[0].parent, None);
}

/// A message older than an hour begins a trace whatever the relation.
pub async fn an_old_message_is_only_linked_to<B: Site>(broker: &B) {
    let mut stage = Stage::with(broker, |telemetry| telemetry.relation(Relation::ParentAndLink));
    let topic = stage.topic(1).await;
    let (told, mut inbox) = Inbox::new();
    stage.spawn(Worker::new("w", stage.subscription(&topic), move || handler_with(told.clone(), note)));
    let publisher = stage.publisher(&topic);
    for minutes in [30, 90] {
        let time = SystemTime::now() - Duration::from_secs(60 * minutes);
        publisher.send(Message::new("1").with_time(time)).await.unwrap();
    }
    inbox.take(2).await;
    let graph = stage.end().await;

    let expect = Expect::new().spans(4).sends(2).process_spans(2).links(2).traces(3).components(2);
    graph.check(&expect).unwrap();
    let parents: Vec<_> =
        named(&graph, &format!("{} {topic}", B::PROCESS)).iter().map(|s| s.parent.is_some()).collect();
    assert_eq!(parents, [true, false]);
}
