//! The answer to one message.

use crate::desk::Desk;
use std::{fmt, future::Future, sync::Arc};
use throughline_core::{ByteString, Error, Settlement, Settler};

/// Takes the settlement of one message.
///
/// An ack, and a reject that the worker has taken care of, delete it; a nack hides it for its delay, in whole seconds
/// rounded up; dropped, it is visible again at once. Answers go out in batches of ten, after 200 ms, or at once when no
/// other message is held; one that failed is tried again alone. What SQS says later is an
/// [`Event`](throughline_core::Event).
///
/// On a FIFO queue, a message that is not done, or whose lease is lost, takes back what was received after it in its
/// group: their leases are lost, so that the order is kept.
///
/// Settling waits while more than 1,000 answers are not confirmed.
pub struct SqsSettler {
    desk: Arc<Desk>,
    id: ByteString,
    /// Taken by the settlement.
    ticket: Option<u64>,
}

impl SqsSettler {
    pub(crate) fn new(desk: Arc<Desk>, ticket: u64, id: ByteString) -> Self {
        SqsSettler { desk, id, ticket: Some(ticket) }
    }

    fn apply(&mut self, how: Option<Settlement>) -> Result<(), Error> {
        match self.ticket.take() {
            Some(ticket) => self.desk.settle(ticket, &self.id, how),
            None => Ok(()),
        }
    }
}

impl Settler for SqsSettler {
    fn settle(mut self, how: Settlement) -> impl Future<Output = Result<(), Error>> + Send {
        let answer = self.apply(Some(how));
        async move {
            answer?;
            self.desk.room().await;
            Ok(())
        }
    }
}

impl Drop for SqsSettler {
    fn drop(&mut self) {
        // Nobody is left to hear that it was lost already.
        let _ = self.apply(None);
    }
}

impl fmt::Debug for SqsSettler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqsSettler").field("id", &self.id).finish_non_exhaustive()
    }
}
