//! How far a member is behind, as an event a partition.

use crate::common::{Member, fill, kafka, topic, until};
use throughline_core::Settlement;

#[tokio::test]
async fn it_counts_what_is_not_done() {
    let kafka = kafka();
    let name = topic(&kafka, "lag", 2).await;
    fill(&kafka, &name, 2, 20).await;
    let mut member = Member::join(&kafka.group(&name).topic(&name), 100).await;
    let deliveries = member.take(20).await;
    let last = |partition| {
        let lags = member.seen.lags.lock().unwrap();
        lags.iter().rev().find(|(p, _)| *p == partition).map(|(_, lag)| *lag)
    };
    until(|| last(0) == Some(10) && last(1) == Some(10)).await;
    for delivery in deliveries {
        // The first of partition 1 stays open, and all behind it counts.
        if delivery.message.origin().unwrap().partition == Some(0) || crate::common::offset(&delivery) > 0 {
            member.settle(delivery, Settlement::Ack).await.unwrap();
        }
    }
    until(|| last(0) == Some(0) && last(1) == Some(10)).await;
    member.close().await.unwrap();
}
