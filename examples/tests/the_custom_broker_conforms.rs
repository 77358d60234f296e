//! The conformance suite that is published for every adapter, on the one of the example `custom_broker`.

#[path = "../custom_broker/client.rs"]
mod client;
#[path = "../custom_broker/settler.rs"]
mod settler;
#[path = "../custom_broker/sink.rs"]
mod sink;
#[path = "../custom_broker/source.rs"]
mod source;

use client::Client;
use source::Queue;
use throughline_core::Error;
use throughline_test::conformance::{Broker, Features, Start};

struct Queues(Client);

impl Broker for Queues {
    type Subscription = Queue;
    type Sink = Queue;

    /// What it cannot do is skipped, and said.
    fn features(&self) -> Features {
        Features { delivery_count: true, reject: true, ..Features::default() }
    }

    async fn create_topic(&self, name: &str, _partitions: u32) -> Result<(), Error> {
        self.0.create(name);
        Ok(())
    }

    fn subscription(&self, topic: &str, _group: &str, _start: Start) -> Queue {
        Queue::new(&self.0, topic)
    }

    fn sink(&self, topic: &str) -> Queue {
        Queue::new(&self.0, topic)
    }
}

throughline_test::conformance!(Queues(Client::default()));
