//! Takes the answer to one delivery.

use crate::{
    consume::{Answer, Handed},
    shared::Shared,
};
use std::{
    fmt,
    future::{Future, ready},
    sync::Arc,
};
use throughline_core::{Error, ErrorKind, Settlement, Settler};
use tokio::time::Instant;

/// The settler of a [`MemorySource`](crate::MemorySource).
///
/// An ack marks the message as done; the committed offset moves once all before it are. A nack makes it available again
/// to the same member, at once or after its delay, with `delivery_count` one higher; nothing later of its key that was
/// not handed over yet comes before it. A reject counts as done: the dead letter is the worker's. Dropped, it nacks at
/// once.
pub struct MemorySettler {
    shared: Arc<Shared>,
    handed: Handed,
    settled: bool,
}

impl MemorySettler {
    pub(crate) fn new(shared: Arc<Shared>, handed: Handed) -> Self {
        MemorySettler { shared, handed, settled: false }
    }

    fn answer(&mut self, how: Option<Settlement>) -> Answer {
        self.settled = true;
        let due = match how {
            // Tokio's clock, so that a test that pauses it decides when the delay is over.
            Some(Settlement::Nack { after: Some(after) }) if !after.is_zero() => {
                Instant::now().checked_add(after).map(Instant::into_std)
            }
            _ => None,
        };
        self.shared.with(|broker, fx| broker.settle(self.handed, how, due, fx))
    }
}

impl Settler for MemorySettler {
    fn settle(mut self, how: Settlement) -> impl Future<Output = Result<(), Error>> + Send {
        ready(match self.answer(Some(how)) {
            Answer::Taken => Ok(()),
            Answer::Late => Err(Error::new(
                ErrorKind::LeaseLost,
                format!("offset {}", self.handed.offset),
                "its partition went to another member, which gets the message again",
            )),
        })
    }
}

impl Drop for MemorySettler {
    fn drop(&mut self) {
        if !self.settled {
            self.answer(None);
        }
    }
}

impl fmt::Debug for MemorySettler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemorySettler").field("offset", &self.handed.offset).finish()
    }
}
