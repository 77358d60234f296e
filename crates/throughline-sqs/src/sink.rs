//! Sending to one queue.

use crate::{
    Sqs, config,
    encode::{Style, encode},
    sender::Sender,
};
use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use throughline_core::{Destination, Endpoint, Error, ErrorKind, Message, Receipt, SendFuture};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tower_service::Service;

/// Messages of one sink that may be under way.
const OPEN: usize = 1_000;

/// Sends messages to one queue: a Tower service that answers with the identity that SQS gave.
///
/// Headers are message attributes; [`AttributeTypes`](crate::AttributeTypes), [`Delay`](crate::Delay) and
/// [`DeduplicationId`](crate::DeduplicationId) in a message's extensions say more. The key is the group on a FIFO queue,
/// which wants one, and the attribute `throughline-key` elsewhere. Batches are made by themselves. It is not ready while
/// 1,000 messages are under way; a clone has to get ready by itself.
///
/// A trace context never makes a send fail: where the ten attributes or the mebibyte have no room, other formats (B3) go
/// first, then `baggage`, then `tracestate`, and `traceparent` goes into `AWSTraceHeader`. What is written to a dead letter
/// beside the message that came is left out, with a warning, where there is no room for it.
///
/// On a FIFO queue one call is under way at a time. A message without a deduplication id gets a new one at each send; what
/// was received from SQS and is forwarded gets the id that it was received with.
///
/// # Errors
/// Before anything is sent: `Unrepresentable` (an empty payload or header, a character that SQS refuses, a header twice),
/// `TooLarge` (11 attributes of the user's own, over 1,048,576 bytes). By SQS: `NotFound`, `Denied`, `Config`, and what
/// is worth another try (`Error::is_retriable`). The SDK has tried those three times.
///
/// # Cancel safety
/// A message is under way from the call on: dropping the future does not call it back, only its answer is not seen. If it
/// then fails, [`flush`](Endpoint::flush) says so.
pub struct SqsSink {
    destination: Arc<Destination>,
    style: Style,
    sender: Arc<Sender>,
    open: Arc<Semaphore>,
    next: Place,
}

/// Room for the next message.
enum Place {
    None,
    Waits(Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send + Sync>>),
    Taken(OwnedSemaphorePermit),
}

impl SqsSink {
    pub(crate) fn new(sqs: Sqs, queue: String) -> Self {
        let fifo = config::is_fifo(&queue);
        SqsSink {
            destination: config::destination(&queue),
            style: Style { fifo, ..Style::default() },
            sender: Arc::new(Sender::new(sqs, queue, fifo)),
            open: Arc::new(Semaphore::new(OPEN)),
            next: Place::None,
        }
    }

    /// Whether payloads are written as base64, so that any bytes can be sent; the subscription has to know it. Default no:
    /// a payload has to be text.
    #[must_use]
    pub fn base64(mut self, yes: bool) -> Self {
        self.style.base64 = yes;
        self
    }

    /// Whether a FIFO queue with content-based deduplication is left to it. Of two messages with equal payloads within five
    /// minutes it drops the second, and with it its trace context. Default no.
    #[must_use]
    pub fn content_deduplication(mut self, yes: bool) -> Self {
        self.style.content_deduplication = yes;
        self
    }

    fn send(&self, message: &Message, place: OwnedSemaphorePermit) -> Result<SendFuture, Error> {
        let encoded = encode(message, &self.destination.name, self.style)?;
        self.sender.send(encoded, place, &self.destination)
    }
}

impl Service<Message> for SqsSink {
    type Response = Receipt;
    type Error = Error;
    type Future = SendFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        loop {
            self.next = match &mut self.next {
                Place::Taken(_) => return Poll::Ready(Ok(())),
                Place::None => match self.open.clone().try_acquire_owned() {
                    Ok(place) => Place::Taken(place),
                    Err(_) => Place::Waits(Box::pin(self.open.clone().acquire_owned())),
                },
                Place::Waits(place) => match ready!(place.as_mut().poll(cx)) {
                    Ok(place) => Place::Taken(place),
                    Err(_) => {
                        let remedy = "the sink was closed";
                        return Poll::Ready(Err(Error::new(
                            ErrorKind::Closed,
                            &*self.destination.name,
                            remedy,
                        )));
                    }
                },
            };
        }
    }

    fn call(&mut self, message: Message) -> SendFuture {
        match std::mem::replace(&mut self.next, Place::None) {
            Place::Taken(place) => self.send(&message, place).unwrap_or_else(SendFuture::failed),
            Place::None | Place::Waits(_) => SendFuture::unready(&self.destination),
        }
    }
}

impl Endpoint for SqsSink {
    fn destination(&self) -> Arc<Destination> {
        self.destination.clone()
    }

    /// Waits for everything that this sink and its clones sent.
    ///
    /// # Errors
    /// If sends failed whose future was dropped: how many. A failure that was awaited is not told again.
    async fn flush(&self) -> Result<(), Error> {
        self.sender.sends.flush(&self.destination).await
    }
}

impl Clone for SqsSink {
    fn clone(&self) -> Self {
        SqsSink {
            destination: self.destination.clone(),
            style: self.style,
            sender: self.sender.clone(),
            open: self.open.clone(),
            next: Place::None,
        }
    }
}

impl fmt::Debug for SqsSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqsSink").field("queue", &self.destination.name).finish_non_exhaustive()
    }
}
