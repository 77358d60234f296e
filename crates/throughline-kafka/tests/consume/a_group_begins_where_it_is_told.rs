//! The start of a group that has committed nothing (FC-16): where it was told to, and that is its position from then on.

use crate::common::{Member, fill, kafka, offset, send, topic, unique, until, within};
use std::{sync::Arc, time::Duration};
use throughline_core::{Capacity, Demand, ErrorKind, Message, Source, Subscription};
use throughline_kafka::Start;

#[tokio::test]
async fn at_a_time_an_offset_or_an_end() {
    let kafka = kafka();
    let name = topic(&kafka, "start", 1).await;
    fill(&kafka, &name, 1, 3).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let between = std::time::SystemTime::now();
    fill(&kafka, &name, 1, 4).await;
    for (start, first) in [
        (Start::Earliest, 0),
        (Start::At(between), 3),
        (Start::At(std::time::SystemTime::UNIX_EPOCH), 0),
        (Start::Offset(5), 5),
        (Start::Offset(-3), 0),
    ] {
        let group = unique("group");
        let mut member = Member::join(&kafka.group(&group).topic(&name).start(start), 100).await;
        assert_eq!(offset(&member.take(1).await[0]), first, "{start:?}");
        member.close().await.unwrap();
    }
}

#[tokio::test]
async fn an_end_that_was_begun_at_is_kept_when_nothing_came() {
    let kafka = kafka();
    let name = topic(&kafka, "latest", 1).await;
    fill(&kafka, &name, 1, 3).await;
    let far = std::time::SystemTime::now() + Duration::from_secs(3600);
    for start in [Start::Latest, Start::At(far), Start::Offset(99)] {
        let group = unique("group");
        let subscription =
            kafka.group(&group).topic(&name).start(start).commit_interval(Duration::from_millis(50));
        let receiving = Member::join(&subscription, 100).await.receiving();
        until(|| receiving.seen.last_commit().is_some()).await;
        let end = receiving.seen.last_commit().unwrap().1;
        receiving.stop().await.close().await.unwrap();
        // What was sent while nobody was there is not passed over.
        send(&mut kafka.topic(&name), Message::new("0")).await.unwrap();
        let mut member = Member::join(&subscription, 100).await;
        assert_eq!(offset(&member.take(1).await[0]), end, "{start:?}");
        member.close().await.unwrap();
    }
}

#[tokio::test]
async fn or_nowhere_with_a_word_on_group_and_partitions() {
    let kafka = kafka();
    let name = topic(&kafka, "strict", 2).await;
    fill(&kafka, &name, 2, 4).await;
    let subscription = kafka.group(&name).topic(&name).start(Start::Committed);
    let (_control, demand) = Demand::new(Capacity { messages: 10, bytes: 1 << 20 });
    let mut source = within(subscription.subscribe(demand, Arc::new(()))).await.unwrap();
    let error = within(source.receive()).await.unwrap_err();
    assert_eq!((error.kind(), error.resource()), (ErrorKind::NotFound, &*name));
    for part in [format!("{name}/0"), format!("{name}/1"), "Committed".into()] {
        assert!(error.to_string().contains(&part), "{error}");
    }
    within(source.close(std::time::Instant::now() + crate::common::LONG)).await.unwrap();
    assert_eq!(kafka.admin().committed(&name, &name).await.unwrap(), [(0, None), (1, None)]);
}
