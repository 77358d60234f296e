//! The conformance suite, on the embedded broker. It shows the suite itself as much as the broker.

use throughline_core::Error;
use throughline_memory::{Memory, MemorySink, MemorySubscription};
use throughline_test::conformance::{Broker, Features, Start};

struct Embedded(Memory);

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
            Start::Earliest => throughline_memory::Start::Earliest,
            Start::Latest => throughline_memory::Start::Latest,
        };
        self.0.subscribe(topic).group(group).start(start)
    }

    fn sink(&self, topic: &str) -> MemorySink {
        self.0.topic(topic)
    }
}

throughline_test::conformance!(Embedded(Memory::new().retain(true)));
