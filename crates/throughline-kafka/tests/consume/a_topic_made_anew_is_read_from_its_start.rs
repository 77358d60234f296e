//! FC-02: a topic is deleted and made again under its name while a member runs.

use crate::common::{Member, fill, kafka, quick, topic, until};
use std::time::Duration;
use throughline_kafka::Assignment;

#[tokio::test]
async fn while_a_member_runs() {
    let kafka = quick(kafka());
    for assignment in [Assignment::Cooperative, Assignment::Eager] {
        let name = topic(&kafka, "anew", 1).await;
        fill(&kafka, &name, 1, 100).await;
        let subscription = kafka.group(&name).topic(&name).assignment(assignment);
        let mut member = Member::join(&subscription.commit_interval(Duration::from_millis(50)), 1000).await;
        assert_eq!(member.handle(100).await.len(), 100);
        until(|| member.seen.last_commit() == Some((0, 100))).await;
        kafka.admin().delete_topic(&name).await.unwrap();
        kafka.admin().create_topic(&name, 1).await.unwrap();
        fill(&kafka, &name, 1, 10).await;
        assert_eq!(member.handle(10).await, (0..10).collect::<Vec<_>>(), "{assignment:?}");
        until(|| member.seen.last_commit() == Some((0, 10))).await;
        member.close().await.unwrap();
    }
}
