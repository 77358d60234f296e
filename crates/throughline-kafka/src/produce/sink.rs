//! Sending to one topic.

use crate::{Kafka, Transaction, produce::producer::Producer, transaction::Sending};
use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use throughline_core::{Destination, Endpoint, Error, ErrorKind, Message, Place, Receipt, Sends};
use tower_service::Service;

/// Sends messages to one topic: a Tower service that answers with the broker's [`Receipt`].
///
/// All sinks of a [`Kafka`] handle share one idempotent producer with `acks=all`. It is not ready while 10,000 messages
/// or 64 MiB are under way: a full queue is back-pressure and no error. A clone has to get ready by itself.
///
/// Messages are handed to the client in the order of the calls. A message's own partition and time are kept; without
/// a partition its key decides, as with Java's clients. What is written to a dead letter beside the message that came is left
/// out, with a warning, where `message.max.bytes` has no room for it. When the last handle, sink and clone is gone, a thread of the
/// producer goes on until all that is under way was confirmed or has failed, and logs how many failed with nobody
/// looking: a program that is about to end waits for [`flush`](Endpoint::flush).
///
/// # Errors
/// By kind: `TooLarge` with the message's size and the limit that refused it (the client's `message.max.bytes`, or the
/// topic's `max.message.bytes`, which is asked for then), `NotFound` (after 10 s: a new topic may still become known),
/// `Denied`, `Fenced`, `Timeout` after `message.timeout.ms` (2 minutes), `Unrepresentable` for a header name with a NUL
/// byte and for what the topic does not take (no key where it is compacted, a time too far off), `Config` for a bad
/// setting, `Broker` for what is left, which is also what was in one batch with a message that its topic does not take.
/// After an error that the idempotent producer does not survive, everything under way is answered with it, and sends from
/// a second later on go through a new producer.
///
/// # Cancel safety
/// A message is under way from the call on: dropping the future does not call it back, only its answer is not seen.
/// If it then fails, [`flush`](Endpoint::flush) says so.
pub struct KafkaSink {
    kafka: Kafka,
    destination: Arc<Destination>,
    sends: Sends,
    /// Sends in transactions of others.
    in_transactions: bool,
    /// The producer that this sink is ready for, or waits for, and the place in it.
    next: Option<(Arc<Producer>, Place)>,
}

/// The future of a send.
#[derive(Debug)]
pub struct SendFuture(State);

#[derive(Debug)]
enum State {
    Alone(throughline_core::SendFuture),
    InTransaction(Sending),
}

impl KafkaSink {
    pub(crate) fn new(kafka: Kafka, destination: Arc<Destination>) -> Self {
        KafkaSink { kafka, destination, sends: Sends::default(), in_transactions: false, next: None }
    }

    /// Sends only what belongs to a [`Transaction`](crate::Transaction), through the producer of that; anything else is
    /// a `Config` error. A sink without this refuses what belongs to one.
    #[must_use]
    pub fn in_transactions(mut self) -> Self {
        self.in_transactions = true;
        self
    }

    fn in_transaction(&self, message: Message) -> Result<Sending, Error> {
        match message.extensions().get::<Transaction>().cloned() {
            Some(transaction) if self.in_transactions => transaction.send(message, &self.destination),
            Some(_) => Err(Error::new(
                ErrorKind::Config,
                &*self.destination.name,
                "it belongs to a transaction: make the sink with `.in_transactions()`",
            )),
            None => Err(Error::new(
                ErrorKind::Config,
                &*self.destination.name,
                "this sink sends in transactions: send `transaction.of(message)`",
            )),
        }
    }
}

impl Service<Message> for KafkaSink {
    type Response = Receipt;
    type Error = Error;
    type Future = SendFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let topic = &*self.destination.name;
        if topic.is_empty() || topic.contains('\0') {
            let remedy = "a topic needs a name without NUL";
            return Poll::Ready(Err(Error::new(ErrorKind::Config, topic, remedy)));
        }
        if self.in_transactions {
            return Poll::Ready(Ok(())); // each send waits for a place of its own
        }
        // One that died in the meantime would never have room, or refuse what it is given.
        if self.next.as_ref().is_none_or(|(producer, _)| producer.is_dead()) {
            let producer = self.kafka.producer().get(|| self.kafka.producer_config(), self.kafka.tokens())?;
            let place = Place::new(producer.flow.clone());
            self.next = Some((producer, place));
        }
        if let Some((_, place)) = &mut self.next {
            ready!(place.poll_take(cx));
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, message: Message) -> SendFuture {
        use throughline_core::SendFuture as Future;
        if self.in_transactions || message.extensions().get::<Transaction>().is_some() {
            return SendFuture(match self.in_transaction(message) {
                Ok(sending) => State::InTransaction(sending),
                Err(error) => State::Alone(Future::failed(error)),
            });
        }
        SendFuture(State::Alone(match self.next.take().filter(|(_, place)| place.is_taken()) {
            Some((producer, place)) => producer.send(&message, &self.destination, place, &self.sends),
            None => Future::unready(&self.destination),
        }))
    }
}

impl Endpoint for KafkaSink {
    fn destination(&self) -> Arc<Destination> {
        self.destination.clone()
    }

    /// Waits for everything that this sink and its clones sent.
    ///
    /// # Errors
    /// If sends failed whose future was dropped: how many. A failure that was awaited is not told again.
    async fn flush(&self) -> Result<(), Error> {
        self.sends.flush(&self.destination).await
    }
}

impl Future for SendFuture {
    type Output = Result<Receipt, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Alone(sending) => Pin::new(sending).poll(cx),
            State::InTransaction(sending) => sending.poll(cx),
        }
    }
}

impl Clone for KafkaSink {
    fn clone(&self) -> Self {
        KafkaSink {
            kafka: self.kafka.clone(),
            destination: self.destination.clone(),
            sends: self.sends.clone(),
            in_transactions: self.in_transactions,
            next: None,
        }
    }
}

impl fmt::Debug for KafkaSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSink")
            .field("topic", &self.destination.name)
            .field("kafka", &self.kafka)
            .finish_non_exhaustive()
    }
}
