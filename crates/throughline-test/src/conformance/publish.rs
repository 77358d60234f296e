//! Publishing.

use super::{
    Broker, Start,
    member::{Member, send, texts, topic, try_send},
};
use std::collections::BTreeSet;
use throughline_core::{Capacity, Demand, Endpoint, ErrorKind, Message, Subscription};
use tokio::{task::JoinSet, time::timeout};

/// A thousand messages, sent from eight tasks to four partitions, arrive once each.
pub async fn everything_that_was_published_arrives_once<B: Broker>(broker: &B) {
    const TASKS: usize = 8;
    const EACH: usize = 125;
    let topic = topic(broker, 4).await;
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let mut sink = broker.sink(&topic);
        tasks.spawn(async move {
            for n in 0..EACH {
                let message = Message::new(format!("{task}-{n}")).with_key(format!("{n}"));
                if let Err(error) = try_send(&mut sink, message).await {
                    panic!("a send failed: {error}");
                }
            }
        });
    }
    let sent = async { while let Some(Ok(())) = tasks.join_next().await {} };
    timeout(broker.patience(), sent).await.expect("a thousand sends are acknowledged in time");

    let mut member = Member::join(broker, &topic, &broker.fresh_name("group")).await;
    let mut found = BTreeSet::new();
    for _ in 0..TASKS * EACH {
        // Answered as it comes: there may be an order, in which the next of its key waits for it.
        let delivery = member.next().await;
        found.extend(texts(std::slice::from_ref(&delivery)));
        member.ack(delivery).await;
    }
    let missing = (0..TASKS).flat_map(|task| (0..EACH).map(move |n| format!("{task}-{n}")));
    let missing: Vec<String> = missing.filter(|id| !found.contains(id)).collect();
    assert!(missing.is_empty(), "lost, or others came twice in their place: {missing:?}");
    let again = texts(&member.rest().await);
    assert!(again.is_empty(), "came again though acknowledged: {again:?}");
    member.leave().await;
}

/// A topic that does not exist is a typed error, on either side.
pub async fn an_unknown_topic_is_not_found<B: Broker>(broker: &B) {
    let name = broker.fresh_name("missing");
    let sent = timeout(broker.patience(), try_send(&mut broker.sink(&name), Message::new("x"))).await;
    let error = sent.expect("a send to an unknown topic is answered in time").expect_err("it does not exist");
    assert_eq!(error.kind(), ErrorKind::NotFound, "the send said: {error}");
    assert!(error.to_string().contains(&name), "the error names the topic: {error}");

    let (_, demand) = Demand::new(Capacity { messages: 1, bytes: usize::MAX });
    let group = broker.fresh_name("group");
    let subscription = broker.subscription(&name, &group, Start::Earliest);
    let subscribe = async { subscription.subscribe(demand, std::sync::Arc::new(())).await.map(drop) };
    let answer = timeout(broker.patience(), subscribe).await;
    let error =
        answer.expect("subscribing to an unknown topic is answered in time").expect_err("no such topic");
    assert_eq!(error.kind(), ErrorKind::NotFound, "subscribing said: {error}");
    assert!(error.to_string().contains(&name), "the error names the topic: {error}");
}

/// After a flush every send is answered; a sink says the same destination each time.
pub async fn flush_leaves_nothing_behind<B: Broker>(broker: &B) {
    let topic = topic(broker, 1).await;
    let mut sink = broker.sink(&topic);
    let mut tasks = JoinSet::new();
    for n in 0..20 {
        std::future::poll_fn(|cx| tower_service::Service::poll_ready(&mut sink, cx)).await.expect("ready");
        tasks.spawn(tower_service::Service::call(&mut sink, Message::new(format!("{n}"))));
    }
    let flushed = timeout(broker.patience(), sink.flush()).await;
    flushed.expect("a flush ends in time").expect("everything is confirmed");
    let answers = async {
        while let Some(answer) = tasks.join_next().await {
            answer.expect("a send does not panic").expect("what was flushed was sent");
        }
    };
    timeout(broker.silence(), answers).await.expect("after a flush no answer is owed");

    let destination = sink.destination();
    assert_eq!(&*destination.name, topic.as_str());
    assert!(std::sync::Arc::ptr_eq(&destination, &sink.clone().destination()), "the same `Arc` each time");
    let _ = send(broker, &mut sink, Message::new("a sink is usable after a flush")).await;
}
