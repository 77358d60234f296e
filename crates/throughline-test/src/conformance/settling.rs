//! What a settlement does, and what happens without one.

use super::{
    Broker,
    features::skip,
    member::{Member, send, text, texts, topic},
};
use std::time::{Duration, Instant};
use throughline_core::{Message, Redelivery, Settlement, Subscription};

async fn filled<B: Broker>(broker: &B, count: usize) -> (String, String, B::Sink) {
    let topic = topic(broker, 1).await;
    let mut sink = broker.sink(&topic);
    for n in 0..count {
        let _ = send(broker, &mut sink, Message::new(format!("{n}"))).await;
    }
    (topic, broker.fresh_name("group"), sink)
}

/// What was acknowledged stays done over a close and a new subscription.
pub async fn acknowledged_messages_do_not_come_again<B: Broker>(broker: &B) {
    let (topic, group, mut sink) = filled(broker, 10).await;
    let mut member = Member::join(broker, &topic, &group).await;
    let deliveries = member.take(10).await;
    member.ack_all(deliveries).await;
    member.leave().await;

    let mut member = Member::join(broker, &topic, &group).await;
    let _ = send(broker, &mut sink, Message::new("new")).await;
    let next = member.next().await;
    assert_eq!(text(&next), "new", "what was acknowledged came again");
    member.ack(next).await;
    let rest = texts(&member.rest().await);
    assert!(rest.is_empty(), "came again though acknowledged: {rest:?}");
    member.leave().await;
}

/// What was received and never answered, or never looked at, comes again after a close.
pub async fn unsettled_messages_come_again<B: Broker>(broker: &B) {
    let (topic, group, _) = filled(broker, 6).await;
    let mut member = Member::join(broker, &topic, &group).await;
    let mut deliveries = member.take(6).await;
    let open = deliveries.split_off(3);
    let mut expected = texts(&open);
    member.ack_all(deliveries).await;
    member.give_back(open);
    member.leave().await;

    let mut member = Member::join(broker, &topic, &group).await;
    let again = member.take(3).await;
    let mut found = texts(&again);
    expected.sort();
    found.sort();
    assert_eq!(found, expected, "exactly what was not settled comes again");
    member.ack_all(again).await;
    member.leave().await;
}

/// On a log, acknowledging beyond an open message commits nothing: the open one and all after it come again.
pub async fn only_the_done_prefix_is_committed<B: Broker>(broker: &B) {
    if !broker.features().order_by_partition {
        return skip(
            "only_the_done_prefix_is_committed",
            "the broker has no `order_by_partition`: no log, no prefix",
        );
    }
    let (topic, group, _) = filled(broker, 6).await;
    let mut member = Member::join(broker, &topic, &group).await;
    let mut open = Vec::new();
    for (n, delivery) in member.take(6).await.into_iter().enumerate() {
        // 2 and 4 stay open; 5, 3, 1, 0 are answered, the later ones of them included.
        if n == 2 || n == 4 { open.push(delivery) } else { member.ack(delivery).await }
    }
    let seen = member.seen.clone();
    member.give_back(open);
    member.leave().await;
    let commits = seen.commits();
    assert!(commits.iter().all(|(_, offset)| *offset <= 2), "committed past the open message: {commits:?}");

    let mut member = Member::join(broker, &topic, &group).await;
    let again = member.next().await;
    assert_eq!(text(&again), "2", "a restart begins with the first that was not done");
    let mut rest = member.take(3).await;
    assert_eq!(texts(&rest), ["3", "4", "5"], "and goes on from there, what was done beyond it included");
    rest.push(again);
    // Answered from the back: the commit moves only when the first is done.
    rest.reverse();
    rest.rotate_left(1);
    member.ack_all(rest).await;
    let seen = member.seen.clone();
    member.leave().await;
    let last = seen.commits().into_iter().map(|(_, offset)| offset).max();
    assert_eq!(last, Some(6), "everything is done and reported as committed");
}

/// A message that was given back for later comes later, counted, and not before.
pub async fn a_nacked_message_comes_again_after_its_delay<B: Broker>(broker: &B) {
    const CASE: &str = "a_nacked_message_comes_again_after_its_delay";
    if !broker.features().delay {
        return skip(CASE, "the broker has no `delay`");
    }
    let (topic, group, _) = filled(broker, 1).await;
    let subscription = broker.subscription(&topic, &group, super::Start::Earliest);
    if subscription.redelivery() == Redelivery::Worker {
        return skip(CASE, "the worker does it for this broker, not the adapter");
    }
    let mut member = Member::join(broker, &topic, &group).await;
    let delivery = member.next().await;
    let (delay, began) = (Duration::from_secs(2), Instant::now());
    member.settle(delivery, Settlement::retry_after(delay)).await;
    let again = member.next().await;
    let waited = began.elapsed();
    // A broker that counts whole seconds may round.
    assert!(waited >= delay - Duration::from_secs(1), "came again after {waited:?}");
    if broker.features().delivery_count {
        let count = again.message.origin().map(|origin| origin.delivery_count);
        assert_eq!(count, Some(2), "the second delivery says so");
    } else {
        skip(CASE, "the broker has no `delivery_count`");
    }
    member.ack(again).await;
    member.leave().await;
}

/// What was rejected is gone for the group.
pub async fn a_rejected_message_does_not_come_again<B: Broker>(broker: &B) {
    if !broker.features().reject {
        return skip("a_rejected_message_does_not_come_again", "the broker has no `reject`");
    }
    let (topic, group, mut sink) = filled(broker, 1).await;
    let mut member = Member::join(broker, &topic, &group).await;
    let delivery = member.next().await;
    member.settle(delivery, Settlement::Reject).await;
    member.leave().await;
    let mut member = Member::join(broker, &topic, &group).await;
    let _ = send(broker, &mut sink, Message::new("new")).await;
    let next = member.next().await;
    assert_eq!(text(&next), "new", "what was rejected came again");
    member.ack(next).await;
    member.leave().await;
}
