//! Who takes the answer to one delivery.

use crate::{client::Record, source::Queue};
use throughline_core::{Error, Settlement, Settler};

/// The answer that is owed for one delivery. Not `Clone`, so that nobody gives two.
pub(crate) struct Owed {
    queue: Queue,
    /// Until it is answered.
    record: Option<Record>,
}

impl Owed {
    pub(crate) fn new(queue: Queue, record: Record) -> Self {
        Owed { queue, record: Some(record) }
    }
}

impl Settler for Owed {
    async fn settle(mut self, how: Settlement) -> Result<(), Error> {
        match how {
            Settlement::Ack | Settlement::Reject => self.record = None,
            Settlement::Nack { .. } => {} // dropped unanswered, it is given back
        }
        Ok(())
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        if let Some(record) = self.record.take() {
            self.queue.client.give_back(&self.queue.destination.name, record);
        }
    }
}
