//! The broker under test.

use std::{collections::BTreeMap, future::Future};
use throughline_test::conformance::Broker;

/// A broker, and what is asked of it beside its adapter.
pub trait Site: Broker {
    /// Its name, as in a row of the guarantees.
    const NAME: &'static str;

    /// What the handling of a message is called in the names of spans.
    const PROCESS: &'static str = "process";

    /// How many messages are many. Tier 1 takes fewer where each costs a request.
    const MANY: usize = 50_000;

    /// The next offset that would be delivered to this group after a restart, of each partition where it committed
    /// anything.
    fn committed(&self, topic: &str, group: &str) -> impl Future<Output = BTreeMap<i32, i64>> + Send;

    /// Whether the group has done this many messages, which is all there are.
    fn is_all_done(&self, topic: &str, group: &str, messages: u64) -> impl Future<Output = bool> + Send {
        async move { self.committed(topic, group).await.values().sum::<i64>() == messages as i64 }
    }
}
