//! A message under way.

use std::sync::Arc;
use throughline_core::{Destination, Error, Message, Place, Receipt, SendFuture, Sends, Unconfirmed};

/// One message under way: it is answered once, whatever happens.
pub(crate) struct Pending {
    unconfirmed: Unconfirmed,
    pub(crate) destination: Arc<Destination>,
    pub(crate) size: usize,
    /// Who sent it said its time.
    pub(crate) timed: bool,
    _place: Place,
}

impl Pending {
    pub(crate) fn new(
        destination: &Arc<Destination>,
        message: &Message,
        mut place: Place,
        sends: &Sends,
    ) -> (Box<Self>, SendFuture) {
        let (unconfirmed, future) = sends.begin(destination);
        let (destination, size, timed) = (destination.clone(), message.size(), message.time().is_some());
        place.fill(size);
        (Box::new(Pending { unconfirmed, destination, size, timed, _place: place }), future)
    }

    pub(crate) fn topic(&self) -> &str {
        &self.destination.name
    }

    /// Says whether somebody heard it, or needs not to.
    pub(crate) fn answer(self, result: Result<Receipt, Error>) -> bool {
        self.unconfirmed.answer(result)
    }
}
