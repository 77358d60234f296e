//! FC-01: the committed offset is gone from the log. Whatever the start, a group goes on at the first record that is
//! there, and says what it passed over.

use crate::common::{Member, delete_before, fill, kafka, topic, until, within};
use std::{sync::Arc, time::Duration};
use throughline_core::{Capacity, Demand, ErrorKind, Settlement, Source, Subscription};
use throughline_kafka::{Assignment, Kafka, Start};

/// A group that has done 10 of 100 records, of which 50 are gone since.
async fn overtaken(kafka: &Kafka) -> String {
    let name = topic(kafka, "gone", 1).await;
    fill(kafka, &name, 1, 10).await;
    let mut member = Member::join(&kafka.group(&name).topic(&name), 100).await;
    assert_eq!(member.handle(10).await.len(), 10);
    member.close().await.unwrap();
    fill(kafka, &name, 1, 90).await;
    delete_before(&name, 50).await;
    name
}

#[tokio::test]
async fn at_the_start() {
    let kafka = kafka();
    for start in [Start::Earliest, Start::Latest, Start::Offset(70)] {
        let name = overtaken(&kafka).await;
        let mut member = Member::join(&kafka.group(&name).topic(&name).start(start), 100).await;
        assert_eq!(member.handle(50).await, (50..100).collect::<Vec<_>>(), "{start:?}");
        assert_eq!(*member.seen.skipped.lock().unwrap(), [(0, 10, 50)]);
        member.close().await.unwrap();
        assert_eq!(kafka.admin().committed(&name, &name).await.unwrap(), [(0, Some(100))]);
    }
}

#[tokio::test]
async fn or_ends_with_the_numbers_if_it_must_not() {
    let kafka = kafka();
    let name = overtaken(&kafka).await;
    let (_control, demand) = Demand::new(Capacity { messages: 10, bytes: 1 << 20 });
    let subscription = kafka.group(&name).topic(&name).start(Start::Committed);
    let mut source = within(subscription.subscribe(demand, Arc::new(()))).await.unwrap();
    let error = within(source.receive()).await.unwrap_err();
    assert_eq!((error.kind(), error.resource()), (ErrorKind::NotFound, &*name));
    let said = format!("{name}/0 is committed at 10 and begins at 50 (40 gone)");
    assert!(error.to_string().contains(&said), "{error}");
}

/// The log overtakes a member that reads slowly: what it holds is still its own.
#[tokio::test]
async fn while_it_runs() {
    let kafka = kafka();
    for assignment in [Assignment::Cooperative, Assignment::Eager] {
        let name = topic(&kafka, "overtaken", 1).await;
        fill(&kafka, &name, 1, 10).await;
        let subscription = kafka.group(&name).topic(&name).assignment(assignment);
        let mut member = Member::join(&subscription.commit_interval(Duration::from_millis(50)), 10).await;
        let held = member.take(10).await;
        // It is full, and reads nothing more.
        tokio::time::sleep(Duration::from_secs(1)).await;
        fill(&kafka, &name, 1, 90).await;
        delete_before(&name, 50).await;
        for delivery in held {
            assert!(!delivery.lease.is_lost());
            member.settle(delivery, Settlement::Ack).await.unwrap();
        }
        assert_eq!(member.handle(50).await, (50..100).collect::<Vec<_>>(), "{assignment:?}");
        let skipped = member.seen.skipped.lock().unwrap().clone();
        assert!(matches!(skipped[..], [(0, 10..=11, 50)]), "{skipped:?}");
        let receiving = member.receiving();
        until(|| receiving.seen.last_commit() == Some((0, 100))).await;
        receiving.stop().await.close().await.unwrap();
    }
}
