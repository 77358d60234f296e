//! Sending to one topic.

use crate::{PubSub, encode::encode, lines::Lines};
use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};
use throughline_core::{Destination, Endpoint, Error, Flow, Message, Place, Receipt, SendFuture, Sends};
use tower_service::Service;

/// Messages of one sink that may be under way.
const OPEN: usize = 1_000;
/// Bytes of them.
const OPEN_BYTES: usize = 32 * 1024 * 1024;
/// How long a message waits for others at most.
const LINGER: Duration = Duration::from_millis(5);

/// Sends messages to one topic: a Tower service that answers with the identity that Pub/Sub gave. Made by
/// [`PubSub::topic`](crate::PubSub::topic).
///
/// Headers are attributes, and the key is the ordering key. Batches are made by themselves, of what comes within 5 ms. It
/// is not ready while 1,000 messages or 32 MiB are under way; a clone has to get ready by itself.
///
/// A trace context is written twice: under its plain names, and under those that Google's own clients read
/// (`googclient_traceparent`). It never makes a send fail: where 100 attributes or 10 MB have no room for it, `baggage`
/// goes first, then `tracestate`.
///
/// # Order
/// Messages of one key are published one batch after the other, and a subscription with ordering delivers them so. When
/// one fails, those of its key that were sent after it fail too, and are not published: sent again in their order they
/// are in order. Other keys go on.
///
/// # Errors
/// Before anything is sent: `Unrepresentable` (no payload, a null header, a key or header that is not text, a name that
/// begins with `goog`, a header twice), `TooLarge` (over 100 attributes, 256 bytes of a name, 1,024 of a value or a key,
/// 10,000,000 in all). By Pub/Sub: `NotFound`, `Denied`, `Config`, and what is worth another try
/// (`Error::is_retriable`), which the client has tried for a minute.
///
/// # Cancel safety
/// A message is under way from the call on: dropping the future does not call it back, only its answer is not seen. If it
/// then fails, [`flush`](Endpoint::flush) says so.
pub struct PubSubSink {
    pubsub: PubSub,
    destination: Arc<Destination>,
    topic: String,
    google: bool,
    lines: Arc<Lines>,
    sends: Sends,
    flow: Arc<Flow>,
    connecting: Option<Connecting>,
    next: Option<Place>,
}

/// The client's future is not `Sync`, which a sink has to be. It is polled through `&mut` alone.
type Connecting = Mutex<Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>>;

impl PubSubSink {
    pub(crate) fn new(pubsub: PubSub, topic: String) -> Self {
        PubSubSink {
            destination: pubsub.destination(&topic, None),
            google: true,
            lines: Arc::new(Lines::new(pubsub.clone(), topic.clone(), LINGER)),
            sends: Sends::default(),
            flow: Arc::new(Flow::new(OPEN, OPEN_BYTES)),
            connecting: None,
            next: None,
            pubsub,
            topic,
        }
    }

    /// Whether a context is written also as Google's own clients read it; default yes. No saves two attributes a message.
    #[must_use]
    pub fn google_context(mut self, yes: bool) -> Self {
        self.google = yes;
        self
    }

    /// How much this sink and its clones may have under way; default 1,000 messages and 32 MiB. One message is always
    /// taken, whatever its size.
    #[must_use]
    pub fn under_way(mut self, messages: usize, bytes: usize) -> Self {
        self.flow = Arc::new(Flow::new(messages, bytes));
        self
    }

    /// How long a message waits for others to go with it; default 5 ms.
    #[must_use]
    pub fn linger(mut self, time: Duration) -> Self {
        self.lines = Arc::new(Lines::new(self.pubsub.clone(), self.topic.clone(), time));
        self
    }

    fn send(&self, message: &Message, mut place: Place) -> Result<SendFuture, Error> {
        let topic = self.lines.topic();
        let (native, size) = encode(message, topic.as_deref().unwrap_or(&self.topic), self.google)?;
        place.fill(size);
        self.lines.send(native, place, || self.sends.begin(&self.destination))
    }
}

impl Service<Message> for PubSubSink {
    type Response = Receipt;
    type Error = Error;
    type Future = SendFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        while self.lines.topic().is_none() {
            let connect = || Mutex::new(Box::pin(self.lines.clone().connect()) as _);
            let connecting = self.connecting.get_or_insert_with(connect).get_mut();
            let connecting = connecting.unwrap_or_else(PoisonError::into_inner);
            let connected = ready!(connecting.as_mut().poll(cx));
            self.connecting = None;
            connected?;
        }
        let place = self.next.get_or_insert_with(|| Place::new(self.flow.clone()));
        place.poll_take(cx).map(Ok)
    }

    fn call(&mut self, message: Message) -> SendFuture {
        let Some(place) = self.next.take().filter(Place::is_taken) else {
            return SendFuture::unready(&self.destination);
        };
        self.send(&message, place).unwrap_or_else(SendFuture::failed)
    }
}

impl Endpoint for PubSubSink {
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

impl Clone for PubSubSink {
    fn clone(&self) -> Self {
        PubSubSink {
            pubsub: self.pubsub.clone(),
            destination: self.destination.clone(),
            topic: self.topic.clone(),
            google: self.google,
            lines: self.lines.clone(),
            sends: self.sends.clone(),
            flow: self.flow.clone(),
            connecting: None,
            next: None,
        }
    }
}

impl fmt::Debug for PubSubSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PubSubSink").field("topic", &self.destination.name).finish_non_exhaustive()
    }
}
