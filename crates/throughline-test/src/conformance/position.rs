//! Groups, and where they begin.

use super::{
    Broker, Start,
    features::skip,
    member::{Member, send, text, texts, topic},
};
use std::time::Instant;
use throughline_core::Message;
use tokio::time::timeout;

/// Every group gets everything, whatever another has done.
pub async fn groups_do_not_take_from_each_other<B: Broker>(broker: &B) {
    if !broker.features().groups {
        return skip("groups_do_not_take_from_each_other", "the broker has no `groups`");
    }
    let topic = topic(broker, 2).await;
    let (one, two) = (broker.fresh_name("one"), broker.fresh_name("two"));
    // Both are there before anything is sent: a broker may keep messages only for groups that it knows.
    let mut first = Member::join(broker, &topic, &one).await;
    let mut second = Member::join(broker, &topic, &two).await;
    let mut sink = broker.sink(&topic);
    for n in 0..10 {
        let _ = send(broker, &mut sink, Message::new(format!("{n}")).with_key(format!("{n}"))).await;
    }
    let deliveries = first.take(10).await;
    first.ack_all(deliveries).await;
    first.leave().await;
    let deliveries = second.take(10).await;
    let mut found = texts(&deliveries);
    found.sort();
    assert_eq!(found, (0..10).map(|n| format!("{n}")).collect::<Vec<_>>());
    second.ack_all(deliveries).await;
    second.leave().await;
}

/// A group that begins with the latest gets nothing of what was there before it, and what comes after.
pub async fn a_group_begins_where_it_is_told<B: Broker>(broker: &B) {
    if !broker.features().start_position {
        return skip("a_group_begins_where_it_is_told", "the broker has no `start_position`");
    }
    let topic = topic(broker, 1).await;
    let mut sink = broker.sink(&topic);
    for n in 0..5 {
        let _ = send(broker, &mut sink, Message::new(format!("old {n}"))).await;
    }
    let group = broker.fresh_name("latest");
    let mut member = Member::with(broker, &topic, &group, Start::Latest, 1000).await;
    // Nobody can see when the broker fixed the position; what is sent until then may be old to it. So send until
    // something arrives.
    let began = Instant::now();
    let first = loop {
        assert!(began.elapsed() < broker.patience(), "nothing that was sent after the start arrived");
        let _ = send(broker, &mut sink, Message::new("new")).await;
        if let Ok(delivery) = timeout(broker.silence(), member.next()).await {
            break delivery;
        }
    };
    let mut found = vec![text(&first)];
    member.ack(first).await;
    let rest = member.rest().await;
    found.extend(texts(&rest));
    assert!(found.iter().all(|text| text == "new"), "was there before the group: {found:?}");
    member.ack_all(rest).await;
    member.leave().await;

    let mut member = Member::join(broker, &topic, &broker.fresh_name("earliest")).await;
    let first = member.next().await;
    assert_eq!(text(&first), "old 0", "a group that begins with the earliest gets it all");
    member.ack(first).await;
    member.leave().await;
}
