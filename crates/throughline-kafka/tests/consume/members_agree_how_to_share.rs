//! FC-59: a member that would share its group's partitions in another way is told so and disturbs nobody; one that speaks
//! the newer group protocol takes the group with it.

use crate::common::{Member, fill, kafka, quick, topic, until};
use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};
use throughline_core::{ErrorKind, Source};
use throughline_kafka::Assignment;

/// How soon a member is told, and for how long a partition may be nobody's.
const SOON: Duration = Duration::from_secs(15);

#[tokio::test]
async fn another_assignment_than_the_groups_ends_with_a_word_on_both() {
    let kafka = quick(kafka());
    let name = topic(&kafka, "protocols", 2).await;
    let group = kafka.group(&name).topic(&name);
    let mut first = Member::join(&group.clone().assignment(Assignment::Eager), 10).await;
    until(|| owned(&first) == [0, 1]).await;
    let rebalances = || first.seen.rebalances.load(Ordering::SeqCst);
    let before = rebalances();
    let since = Instant::now();
    let mut second = Member::join(&group.assignment(Assignment::Cooperative), 10).await;
    let error = tokio::time::timeout(SOON, second.source.receive()).await.unwrap().unwrap_err();
    assert!(since.elapsed() < SOON, "{:?}", since.elapsed());
    // A setting: no worker starts that again.
    assert_eq!(error.kind(), ErrorKind::Config);
    for part in ["assignment", "`range`", "`cooperative-sticky`"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    let _ = second.close().await;
    fill(&kafka, &name, 2, 10).await;
    assert_eq!(first.handle(10).await.len(), 10);
    assert_eq!(owned(&first), [0, 1]);
    // Two rebalances, of a loss and a gain each.
    let rebalances = first.seen.rebalances.load(Ordering::SeqCst) - before;
    assert!(rebalances <= 4, "{rebalances} changes");
    first.close().await.unwrap();
}

#[tokio::test]
async fn one_that_speaks_the_newer_protocol_takes_the_group_with_it() {
    let classic = quick(kafka());
    let newer = kafka().set("group.protocol", "consumer");
    let name = topic(&classic, "both", 4).await;
    let mut first = Member::join(&classic.group(&name).topic(&name), 100).await;
    until(|| owned(&first).len() == 4).await;
    let mut second = Member::join(&newer.group(&name).topic(&name), 100).await;
    shared(&[&first, &second], &[2, 2]).await;
    fill(&classic, &name, 4, 40).await;
    assert_eq!((first.handle(20).await.len(), second.handle(20).await.len()), (20, 20));
    second.close().await.unwrap();
    shared(&[&first], &[4]).await;
    fill(&classic, &name, 4, 40).await;
    assert_eq!(first.handle(40).await.len(), 40, "nothing comes twice");
    first.close().await.unwrap();
    let committed = classic.admin().committed(&name, &name).await.unwrap();
    assert_eq!(committed, (0..4).map(|partition| (partition, Some(20))).collect::<Vec<_>>());
}

fn owned(member: &Member) -> Vec<i32> {
    let mut owned = member.seen.assigned.lock().unwrap().clone();
    owned.sort_unstable();
    owned
}

/// Waits until each member owns so many of the four partitions; on the way none may be nobody's for long.
async fn shared(members: &[&Member], counts: &[usize]) {
    let mut last_owned = [Instant::now(); 4];
    loop {
        let owned: Vec<_> = members.iter().map(|member| owned(member)).collect();
        if owned.iter().map(Vec::len).eq(counts.iter().copied()) {
            return;
        }
        for (partition, last) in (0..).zip(&mut last_owned) {
            if owned.iter().any(|owned| owned.contains(&partition)) {
                *last = Instant::now();
            }
            assert!(last.elapsed() < SOON, "partition {partition} is nobody's");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
