//! The answer to one record.

use crate::consume::{
    offsets::{Mark, Ticket},
    partitions::Partition,
};
use std::{fmt, future::Future, sync::Arc};
use throughline_core::{Error, ErrorKind, Settlement, Settler};

/// Takes the settlement of one record.
///
/// An ack, and a reject that the worker has taken care of, complete its offset, which is committed once all below are
/// complete. A nack, or dropping it, leaves the offset open: nothing above it is committed, and the record comes again
/// when the partition is assigned anew (the worker does not wait for that: it holds the message and tries again).
pub struct KafkaSettler {
    partition: Arc<Partition>,
    /// Taken by the settlement.
    ticket: Option<Ticket>,
}

impl KafkaSettler {
    pub(crate) fn new(partition: Arc<Partition>, ticket: Ticket) -> Self {
        KafkaSettler { partition, ticket: Some(ticket) }
    }

    fn place(&self, ticket: Ticket) -> String {
        format!("{}/{}/{}", self.partition.topic(), self.partition.number, ticket.offset)
    }

    fn apply(&mut self, how: Settlement) -> Result<(), Error> {
        let Some(ticket) = self.ticket.take() else { return Ok(()) };
        let mark = match how {
            Settlement::Ack if !self.partition.covers(ticket.offset) => self.partition.misuse(ticket),
            Settlement::Ack | Settlement::Reject => self.partition.complete(ticket),
            Settlement::Nack { .. } => self.partition.give_back(ticket),
        };
        match mark {
            Mark::Taken => Ok(()),
            Mark::Stale => Err(Error::new(
                ErrorKind::LeaseLost,
                self.place(ticket),
                "the partition was given to another member; the record is delivered again there",
            )),
        }
    }
}

impl Settler for KafkaSettler {
    fn settle(mut self, how: Settlement) -> impl Future<Output = Result<(), Error>> + Send {
        std::future::ready(self.apply(how))
    }
}

impl Drop for KafkaSettler {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.partition.give_back(ticket);
        }
    }
}

impl fmt::Debug for KafkaSettler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSettler")
            .field("topic", &self.partition.topic())
            .field("partition", &self.partition.number)
            .field("offset", &self.ticket.map(|ticket| ticket.offset))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use throughline_core::{Destination, PartitionIndex};

    fn partition() -> Arc<Partition> {
        let destination = Arc::new(Destination::new("kafka", "t"));
        let partition = Partition::new(destination, 0, PartitionIndex(0), Arc::default());
        partition.assign();
        Arc::new(partition)
    }

    fn settler(partition: &Arc<Partition>, offset: i64) -> KafkaSettler {
        KafkaSettler::new(partition.clone(), partition.deliver(offset).unwrap())
    }

    #[test]
    fn ack_and_reject_complete_nack_and_drop_do_not() {
        let partition = partition();
        let [a, b, c, d] = [0, 1, 2, 3].map(|offset| settler(&partition, offset));
        assert!(a.settle(Settlement::Ack).now_or_never().unwrap().is_ok());
        assert!(b.settle(Settlement::Reject).now_or_never().unwrap().is_ok());
        assert!(c.settle(Settlement::nack()).now_or_never().unwrap().is_ok());
        assert_eq!((partition.lowest_open(), partition.held()), (Some(2), 1));
        drop(d);
        assert_eq!((partition.lowest_open(), partition.held()), (Some(2), 0));
    }

    #[test]
    fn a_settlement_counts_from_the_call_on() {
        let partition = partition();
        drop(settler(&partition, 0).settle(Settlement::Ack));
        assert_eq!(partition.lowest_open(), Some(1));
    }

    #[test]
    fn after_the_revoke_it_is_refused_with_the_place() {
        let partition = partition();
        let late = settler(&partition, 7);
        let rest = partition.revoke();
        assert_eq!((rest.lowest_open, rest.held), (Some(7), 1));
        let error = late.settle(Settlement::Ack).now_or_never().unwrap().unwrap_err();
        assert_eq!((error.kind(), error.resource()), (ErrorKind::LeaseLost, "t/0/7"));
    }
}
