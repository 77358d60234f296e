//! A subscription by a regular expression takes in what matches, also later.

use crate::common::{Member, fill, kafka, quick, topic};

#[tokio::test]
async fn and_new_ones_join() {
    // How soon a new topic is found is the client's setting.
    let kafka = quick(kafka()).set("topic.metadata.refresh.interval.ms", "500");
    let first = topic(&kafka, "pattern", 1).await;
    let mut member = Member::join(&kafka.group(&first).topic(format!("^{first}.*")), 100).await;
    fill(&kafka, &first, 1, 2).await;
    assert_eq!(member.handle(2).await, [0, 1]);
    let second = format!("{first}-second");
    kafka.admin().create_topic(&second, 1).await.unwrap();
    fill(&kafka, &second, 1, 3).await;
    assert_eq!(member.handle(3).await, [0, 1, 2]);
    member.close().await.unwrap();
    assert_eq!(kafka.admin().committed(&first, &second).await.unwrap(), [(0, Some(3))]);
}
