//! What a publisher needs: a Tower service that knows where it sends to.

use crate::{client::Record, source::Queue};
use std::{
    future::{Ready, ready},
    sync::Arc,
    task::{Context, Poll},
};
use throughline_core::{Destination, Endpoint, Error, Message, Receipt};
use tower::Service;

impl Service<Message> for Queue {
    type Response = Receipt;
    type Error = Error;
    type Future = Ready<Result<Receipt, Error>>;

    /// `Pending` while the client takes no more.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, message: Message) -> Self::Future {
        let (body, key) = (message.payload_opt().cloned(), message.key().cloned());
        let record = Record { body, key, headers: message.headers().clone(), ..Record::default() };
        let number = self.client.send(&self.destination.name, record).ok_or_else(|| self.missing());
        ready(number.map(|number| Receipt::with_id(number.to_string())))
    }
}

impl Endpoint for Queue {
    fn destination(&self) -> Arc<Destination> {
        self.destination.clone()
    }
}
