//! FC-03: a topic is deleted under a member of two. It is named, the other goes on, and the end is not held up.

use crate::common::{Member, fill, kafka, quick, topic, until};
use std::time::{Duration, Instant};

#[tokio::test]
async fn and_is_named() {
    let kafka = quick(kafka());
    let [gone, kept] = [topic(&kafka, "gone", 1).await, topic(&kafka, "kept", 1).await];
    // What a pattern matches need not exist.
    let none = format!("^{kept}-none$");
    let subscription =
        kafka.group(&kept).topics([&gone, &kept, &none]).commit_interval(Duration::from_millis(50));
    fill(&kafka, &gone, 1, 2).await;
    let mut member = Member::join(&subscription, 100).await;
    assert_eq!(member.handle(2).await.len(), 2);
    kafka.admin().delete_topic(&gone).await.unwrap();
    fill(&kafka, &kept, 1, 5).await;
    assert_eq!(member.handle(5).await, [0, 1, 2, 3, 4]);
    // LONG is the bound that is promised.
    until(|| member.seen.missing.lock().unwrap().last().is_some_and(|topics| *topics == [gone.clone()]))
        .await;
    let began = Instant::now();
    member.close().await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    assert_eq!(kafka.admin().committed(&kept, &kept).await.unwrap(), [(0, Some(5))]);
}
