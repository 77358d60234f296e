//! The answer to one message.

use crate::desk::Desk;
use std::{fmt, future::Future, sync::Arc};
use throughline_core::{ByteString, Error, Settlement, Settler};

/// Takes the settlement of one message.
///
/// An ack, and a reject that the worker has taken care of, acknowledge it; dropped, it is given back at once. A nack waits
/// here for its delay, its lease kept, and is then given back: Pub/Sub knows no delay for one message. At most as many as
/// the [buffer](crate::PubSubSubscription::buffer) has room for wait so; of more, the one that is due first goes back
/// early. A drain gives them all back at once.
///
/// With an ordering key, what is behind a message that was not done goes back with it, and it comes first again.
///
/// Acknowledgements leave every 100 ms, and the service says nothing to them unless the subscription delivers exactly once:
/// then settling waits for its confirmation. What it refuses is an error of the settlement, and the message may come
/// again.
pub struct PubSubSettler {
    desk: Arc<Desk>,
    id: ByteString,
    /// Taken by the settlement.
    ticket: Option<u64>,
}

impl PubSubSettler {
    pub(crate) fn new(desk: Arc<Desk>, ticket: u64, id: ByteString) -> Self {
        PubSubSettler { desk, id, ticket: Some(ticket) }
    }
}

impl Settler for PubSubSettler {
    fn settle(mut self, how: Settlement) -> impl Future<Output = Result<(), Error>> + Send {
        let answer = match self.ticket.take() {
            Some(ticket) => self.desk.settle(ticket, &self.id, Some(how)),
            None => Ok(None),
        };
        async move {
            match answer? {
                // Nobody tells if the runtime ended meanwhile.
                Some(confirmed) => confirmed.await.unwrap_or(Ok(())),
                None => Ok(()),
            }
        }
    }
}

impl Drop for PubSubSettler {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            // Nobody is left to hear that it was lost already.
            let _ = self.desk.settle(ticket, &self.id, None);
        }
    }
}

impl fmt::Debug for PubSubSettler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PubSubSettler").field("id", &self.id).finish_non_exhaustive()
    }
}
