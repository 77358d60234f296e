//! FC-04: a `group.instance.id` that another member holds is an error that names it, and ends the source.

use crate::common::{Member, fill, kafka, quick, topic, until, within};
use std::sync::Arc;
use throughline_core::{Capacity, Demand, ErrorKind, Settlement, Settler, Source, Subscription};

#[tokio::test]
async fn the_older_is_fenced_under_the_classic_protocol() {
    let kafka = quick(kafka());
    let name = topic(&kafka, "fenced", 1).await;
    fill(&kafka, &name, 1, 2).await;
    let subscription = kafka.group(&name).topic(&name).static_member("one");
    let mut older = Member::join(&subscription, 100).await;
    assert_eq!(older.handle(1).await, [0, 1]);
    let younger = Member::join(&subscription, 100).await;
    until(|| !younger.seen.assigned.lock().unwrap().is_empty()).await;
    // The broker tells it at its next commit, which may be that of the records before.
    fill(&kafka, &name, 1, 1).await;
    let error = loop {
        match within(older.source.receive()).await {
            Ok(batch) => {
                for delivery in batch {
                    delivery.settler.settle(Settlement::Ack).await.unwrap();
                }
            }
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert!(error.to_string().contains("group.instance.id"), "{error}");
    // It leaves without a word to the group, whose member is the other one now.
    let _ = older.close().await;
    younger.close().await.unwrap();
}

#[tokio::test]
async fn the_younger_is_refused_under_the_newer_one() {
    let kafka = kafka().set("group.protocol", "consumer");
    let name = topic(&kafka, "unreleased", 1).await;
    fill(&kafka, &name, 1, 2).await;
    let subscription = kafka.group(&name).topic(&name).static_member("one");
    let mut older = Member::join(&subscription, 100).await;
    assert_eq!(older.handle(1).await, [0, 1]);
    let (_control, demand) = Demand::new(Capacity { messages: 10, bytes: 1 << 20 });
    // It has not even started.
    let error = within(subscription.subscribe(demand, Arc::new(()))).await.unwrap_err();
    // A supervisor tries that again: after a crash the slot becomes free.
    assert!(error.is_retriable() && error.kind() == ErrorKind::Broker, "{error:?}");
    assert!(error.to_string().contains("group.instance.id"), "{error}");
    older.close().await.unwrap();
}
