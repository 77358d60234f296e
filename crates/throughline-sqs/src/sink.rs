//! Sending to one queue.

use crate::{
    Sqs, config,
    encode::{Style, encode},
    sender::{Answer, Sender},
};
use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use throughline_core::{Destination, Endpoint, Error, ErrorKind, Message, Receipt};
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
/// A trace context never makes a send fail: where the ten attributes or the mebibyte have no room, `baggage` goes first,
/// then `tracestate`, and `traceparent` goes into `AWSTraceHeader`.
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

/// The future of a send.
#[derive(Debug)]
pub struct SendFuture(State);

#[derive(Debug)]
enum State {
    Failed(Option<Error>),
    Sent(Answer, Arc<Destination>),
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

    fn send(&mut self, message: &Message) -> Result<Answer, Error> {
        // Tower's contract: a call without readiness may panic. It is answered here instead.
        let Place::Taken(place) = std::mem::replace(&mut self.next, Place::None) else {
            let remedy = "the sink was called before it was ready";
            return Err(Error::new(ErrorKind::Config, &*self.destination.name, remedy));
        };
        self.sender.send(encode(message, &self.destination.name, self.style)?, place)
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
        SendFuture(match self.send(&message) {
            Ok(answer) => State::Sent(answer, self.destination.clone()),
            Err(error) => State::Failed(Some(error)),
        })
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
        match self.sender.settle().await {
            0 => Ok(()),
            failed => {
                let remedy = format!("{failed} messages were not confirmed; await each send to learn why");
                Err(Error::new(ErrorKind::Broker, &*self.destination.name, remedy))
            }
        }
    }
}

impl Future for SendFuture {
    type Output = Result<Receipt, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Failed(error) => {
                let done = || Error::new(ErrorKind::Closed, "send", "this future has already answered");
                Poll::Ready(Err(error.take().unwrap_or_else(done)))
            }
            State::Sent(answer, destination) => match ready!(Pin::new(answer).poll(cx)) {
                Ok(result) => Poll::Ready(result),
                Err(_) => {
                    let remedy = "its runtime ended before SQS confirmed";
                    Poll::Ready(Err(Error::new(ErrorKind::Closed, &*destination.name, remedy)))
                }
            },
        }
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
