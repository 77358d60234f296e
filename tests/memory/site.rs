//! The embedded broker as a site.

use std::collections::BTreeMap;
use throughline::{
    Error,
    memory::{self, Memory, MemorySink, MemorySubscription},
};
use throughline_test::conformance::{Broker, Features, Start};
use throughline_tests::Site;

/// The embedded broker, one for each test.
pub(crate) struct Embedded(Memory);

impl Embedded {
    pub(crate) fn new() -> Self {
        Embedded(Memory::new().retain(true))
    }
}

impl Broker for Embedded {
    type Subscription = MemorySubscription;
    type Sink = MemorySink;

    fn features(&self) -> Features {
        Features { transactions: false, ..Features::ALL }
    }

    async fn create_topic(&self, name: &str, partitions: u32) -> Result<(), Error> {
        self.0.create_topic(name, partitions)
    }

    fn subscription(&self, topic: &str, group: &str, start: Start) -> MemorySubscription {
        let start = match start {
            Start::Earliest => memory::Start::Earliest,
            Start::Latest => memory::Start::Latest,
        };
        self.0.subscribe(topic).group(group).start(start)
    }

    fn sink(&self, topic: &str) -> MemorySink {
        self.0.topic(topic)
    }
}

impl Site for Embedded {
    const NAME: &'static str = "memory";

    async fn committed(&self, topic: &str, group: &str) -> BTreeMap<i32, i64> {
        // A partition that does not exist ends at 0 as an empty one does; scenarios have few.
        let at = |partition| (partition, self.0.committed(topic, group, partition));
        (0..16).map(at).filter(|(_, offset)| *offset > 0).collect()
    }
}
