//! Order.

use super::{
    Broker,
    features::skip,
    member::{Member, partition, send, texts, topic},
};
use std::collections::{HashMap, HashSet};
use throughline_core::Message;

/// What was sent to one partition, by its number, comes from that partition and in order.
pub async fn a_partition_keeps_its_order<B: Broker>(broker: &B) {
    if !broker.features().order_by_partition {
        return skip("a_partition_keeps_its_order", "the broker has no `order_by_partition`");
    }
    let topic = topic(broker, 3).await;
    let mut sink = broker.sink(&topic);
    for n in 0..60 {
        let receipt = send(broker, &mut sink, Message::new(format!("{n}")).with_partition(n % 3)).await;
        assert_eq!(receipt.partition, Some(n % 3), "a send to a partition goes there");
    }
    let mut member = Member::join(broker, &topic, &broker.fresh_name("group")).await;
    let deliveries = member.take(60).await;
    let mut found: HashMap<_, Vec<i32>> = HashMap::new();
    for delivery in &deliveries {
        let n = super::member::text(delivery).parse().expect("the payload that was sent");
        found.entry(partition(delivery)).or_default().push(n);
    }
    let indexes: HashSet<_> = found.keys().map(|(_, index)| *index).collect();
    assert_eq!((found.len(), indexes.len()), (3, 3), "an index for each partition: {:?}", found.keys());
    for ((number, _), found) in found {
        let number = number.expect("a broker with partitions says which");
        assert_eq!(found, (0..20).map(|n| n * 3 + number).collect::<Vec<_>>(), "partition {number}");
    }
    member.ack_all(deliveries).await;
    member.leave().await;
}

/// What was sent with one key comes in order, however many partitions there are.
pub async fn a_key_keeps_its_order<B: Broker>(broker: &B) {
    if !broker.features().order_by_key {
        return skip("a_key_keeps_its_order", "the broker has no `order_by_key`");
    }
    let topic = topic(broker, 4).await;
    let mut sink = broker.sink(&topic);
    for n in 0..100 {
        let _ = send(broker, &mut sink, Message::new(format!("{n}")).with_key(format!("{}", n % 10))).await;
    }
    let mut member = Member::join(broker, &topic, &broker.fresh_name("group")).await;
    let mut found: HashMap<_, Vec<String>> = HashMap::new();
    for _ in 0..100 {
        // A broker may hold back a key until its last message is done.
        let delivery = member.next().await;
        let key = delivery.message.key().cloned().expect("the key that was sent");
        found.entry(key).or_default().extend(texts(std::slice::from_ref(&delivery)));
        member.ack(delivery).await;
    }
    for (key, found) in found {
        let first: usize = String::from_utf8_lossy(&key).parse().expect("the key that was sent");
        assert_eq!(found, (0..10).map(|n| format!("{}", n * 10 + first)).collect::<Vec<_>>(), "key {first}");
    }
    member.leave().await;
}
