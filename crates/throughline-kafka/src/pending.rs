//! A message under way.

use std::sync::Arc;
use throughline_core::{Destination, Error, Place, Receipt, SendFuture, Sends, Unconfirmed};

/// One message under way: it is answered once, whatever happens.
pub(crate) struct Pending {
    unconfirmed: Unconfirmed,
    pub(crate) destination: Arc<Destination>,
    pub(crate) size: usize,
    _place: Place,
}

impl Pending {
    pub(crate) fn new(
        destination: &Arc<Destination>,
        size: usize,
        mut place: Place,
        sends: &Sends,
    ) -> (Box<Self>, SendFuture) {
        let (unconfirmed, future) = sends.begin(destination);
        place.fill(size);
        (Box::new(Pending { unconfirmed, destination: destination.clone(), size, _place: place }), future)
    }

    pub(crate) fn topic(&self) -> &str {
        &self.destination.name
    }

    /// Says whether somebody heard it, or needs not to.
    pub(crate) fn answer(self, result: Result<Receipt, Error>) -> bool {
        self.unconfirmed.answer(result)
    }
}
