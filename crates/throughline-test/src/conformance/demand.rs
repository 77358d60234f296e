//! Whether a source does as its demand says.

use super::{
    Broker, Start,
    features::skip,
    member::{Member, partition, send, text, texts, topic},
};
use throughline_core::Message;

/// A source never hands over more than there is room for, and the rest when there is room again.
pub async fn no_more_is_handed_over_than_there_is_room_for<B: Broker>(broker: &B) {
    let topic = topic(broker, 1).await;
    let mut sink = broker.sink(&topic);
    for n in 0..20 {
        let _ = send(broker, &mut sink, Message::new(format!("{n}"))).await;
    }
    let group = broker.fresh_name("group");
    let mut member = Member::with(broker, &topic, &group, Start::Earliest, 3).await;
    let mut held = member.take(3).await;
    held.extend(member.rest().await);
    assert_eq!(held.len(), 3, "with room for 3 there came {:?}", texts(&held));
    let mut done = 0;
    while done < 20 {
        // All of them: what was blocked for want of room is free again only when half of it is.
        done += held.len();
        member.ack_all(std::mem::take(&mut held)).await;
        if done < 20 {
            held.push(member.next().await);
        }
        let (messages, _) = member.control().held();
        assert!(messages <= 3, "{messages} handed over with room for 3");
    }
    assert_eq!(done, 20);
    member.leave().await;
}

/// A partition whose messages are not settled is held back; the others go on, and it does when it is free again.
pub async fn a_blocked_partition_is_held_back_alone<B: Broker>(broker: &B) {
    if !broker.features().order_by_partition {
        return skip("a_blocked_partition_is_held_back_alone", "the broker has no `order_by_partition`");
    }
    let topic = topic(broker, 2).await;
    let mut sink = broker.sink(&topic);
    for n in 0..20 {
        let _ = send(broker, &mut sink, Message::new(format!("{n}")).with_partition(n % 2)).await;
    }
    let group = broker.fresh_name("group");
    // Of 4 places a partition may take 3 as long as the other holds none.
    let mut member = Member::with(broker, &topic, &group, Start::Earliest, 4).await;
    let (mut stuck, mut flowing) = (Vec::new(), 0);
    while flowing < 10 {
        let delivery = member.next().await;
        if partition(&delivery).0 == Some(0) {
            stuck.push(delivery);
            assert!(stuck.len() <= 3, "more of a blocked partition: {:?}", texts(&stuck));
        } else {
            member.ack(delivery).await;
            flowing += 1;
        }
    }
    stuck.extend(member.rest().await);
    assert!(stuck.len() <= 3, "more of a blocked partition: {:?}", texts(&stuck));
    let mut done = 0;
    while done < 10 {
        let delivery = match stuck.pop() {
            Some(delivery) => delivery,
            None => member.next().await,
        };
        member.ack(delivery).await;
        done += 1;
    }
    member.leave().await;
}

/// Nothing is handed over while paused; afterwards everything is.
pub async fn a_paused_worker_gets_nothing_and_resumes<B: Broker>(broker: &B) {
    let topic = topic(broker, 1).await;
    let mut sink = broker.sink(&topic);
    let mut member = Member::join(broker, &topic, &broker.fresh_name("group")).await;
    let _ = send(broker, &mut sink, Message::new("before")).await;
    let before = member.next().await;
    member.ack(before).await;
    member.control().pause();
    // What was on its way when the pause was said may still come: one message draws the line.
    let _ = send(broker, &mut sink, Message::new("at the pause")).await;
    let late = member.rest().await;
    let was_late = !late.is_empty();
    member.ack_all(late).await;
    for n in 0..3 {
        let _ = send(broker, &mut sink, Message::new(format!("{n}"))).await;
    }
    let came = texts(&member.rest().await);
    assert!(came.is_empty(), "came while paused: {came:?}");
    member.control().resume();
    let left = member.take(if was_late { 3 } else { 4 }).await;
    assert!(left.iter().any(|delivery| text(delivery) == "2"), "{:?}", texts(&left));
    member.ack_all(left).await;
    member.leave().await;
}

/// A source that is told to stop says that nothing more comes, whether it was idle, full or paused.
pub async fn stopping_ends_the_source<B: Broker>(broker: &B) {
    let topic = topic(broker, 1).await;
    let group = broker.fresh_name("group");
    Member::join(broker, &topic, &group).await.leave().await;

    let mut sink = broker.sink(&topic);
    for n in 0..5 {
        let _ = send(broker, &mut sink, Message::new(format!("{n}"))).await;
    }
    let mut member = Member::with(broker, &topic, &group, Start::Earliest, 1).await;
    let held = member.next().await;
    member.control().stop();
    assert_eq!(member.control().held().0, 1);
    member.ack(held).await;
    member.leave().await;

    let member = Member::with(broker, &topic, &group, Start::Earliest, 1).await;
    member.control().pause();
    member.control().stop();
    member.control().resume();
    let mut member = member;
    let came = texts(&member.rest().await);
    assert!(came.len() <= 1, "came though stopped: {came:?}");
    member.leave().await;
}
