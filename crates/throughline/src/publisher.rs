//! What user code sends with.

use crate::flush::{self, Sends};
use futures_util::{
    StreamExt,
    future::{BoxFuture, poll_fn},
    stream,
};
use opentelemetry::{Context, trace::TraceContextExt};
use std::{fmt, sync::Arc, task};
use throughline_core::{BoxError, Endpoint, Error, Message, Receipt};
use throughline_trace::{Captured, MirrorLayer, Telemetry};
use tower_layer::Layer;
use tower_service::Service;

/// Sends messages, each in a send span whose context it carries.
///
/// A clone is one reference count. It is a Tower service itself, and [`layer`](Self::layer) puts any Tower layer
/// around it, whether its service is `Clone` or not; [`MirrorLayer`] stays innermost, so that what is injected is what
/// is sent. The tracer is taken at the first send: a publisher that was built before the telemetry still traces.
///
/// ```
/// use throughline::{Message, Publisher, memory::Memory};
/// use std::time::Duration;
/// use tower::limit::RateLimitLayer;
///
/// # #[tokio::main] async fn main() -> Result<(), throughline::BoxError> {
/// let broker = Memory::new();
/// broker.create_topic("orders", 1)?;
/// let publisher = Publisher::new(broker.topic("orders")).layer(RateLimitLayer::new(500, Duration::from_secs(1)));
/// let receipt = publisher.send(Message::new("first")).await?;
/// assert_eq!(receipt.offset, Some(0));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Publisher {
    stack: Arc<dyn Erased>,
    sends: Arc<Sends>,
    /// The user's layers may send from another task, so the context is captured where `send` is called.
    layered: bool,
}

/// How many messages of one `send_all` are on their way at once.
const SEND_ALL_IN_FLIGHT: usize = 1024;

impl Publisher {
    /// Sends to this endpoint.
    pub fn new<K: Endpoint>(endpoint: K) -> Self {
        let mirror = MirrorLayer::new(endpoint.destination());
        Self::build(mirror, endpoint)
    }

    /// Sends to this endpoint with this telemetry in place of the process's own.
    pub fn with_telemetry<K: Endpoint>(endpoint: K, telemetry: &Telemetry) -> Self {
        let mirror = telemetry.mirror_layer(endpoint.destination());
        Self::build(mirror, endpoint)
    }

    fn build<K: Endpoint>(mirror: MirrorLayer, endpoint: K) -> Self {
        let sends = flush::register(endpoint.clone());
        Publisher { stack: Arc::new(Cloned(mirror.layer(endpoint))), sends, layered: false }
    }

    /// Puts a layer around everything so far.
    #[must_use]
    pub fn layer<L>(self, layer: L) -> Self
    where
        L: Layer<Publisher>,
        L::Service: Service<Message, Response = Receipt> + Send + 'static,
        <L::Service as Service<Message>>::Error: Into<BoxError>,
        <L::Service as Service<Message>>::Future: Send,
    {
        let sends = self.sends.clone();
        let stack = layer.layer(self);
        Publisher { stack: Arc::new(Locked(tokio::sync::Mutex::new(stack))), sends, layered: true }
    }

    /// Sends one message and waits for the broker's word that it has it.
    ///
    /// # Cancel safety
    /// Nothing is sent before the first poll. Dropped later, the message may or may not have been sent.
    ///
    /// # Errors
    /// The broker's or the client's [`Error`], or that of a layer. Nothing is retried here.
    pub fn send(&self, mut message: Message) -> BoxFuture<'static, Result<Receipt, BoxError>> {
        // Taken here, so that the future may be polled anywhere, for instance by a task of its own.
        let here = Context::map_current(|now| now.has_active_span().then(|| now.clone()));
        if self.layered
            && let Some(here) = &here
        {
            message.extensions_mut().insert(Captured(here.clone()));
        }
        self.stack.clone().send(message, here, self.sends.clone())
    }

    /// Sends many at once and waits for all of them; the answers are in the order of the messages.
    ///
    /// They are handed to the client in order; what a retry inside the client may reorder, and what it may not, is the
    /// broker's rule.
    ///
    /// # Cancel safety
    /// As [`send`](Self::send), for each message.
    pub fn send_all<M>(&self, messages: M) -> BoxFuture<'static, Vec<Result<Receipt, BoxError>>>
    where
        M: IntoIterator<Item = Message>,
    {
        // Taken here, like the context of each: a future that held the iterator could not be spawned where that
        // borrows.
        let sends: Vec<_> = messages.into_iter().map(|message| self.send(message)).collect();
        Box::pin(stream::iter(sends).buffered(SEND_ALL_IN_FLIGHT).collect())
    }

    /// Waits until everything that was handed to the client is confirmed or has failed. A drain does it for every
    /// publisher of the process before it commits, since a send whose future was dropped is under way all the same.
    ///
    /// # Errors
    /// Says how many messages were not confirmed and had nobody to tell. What a send has answered, it told there: a
    /// task that sends has to be joined.
    pub async fn flush(&self) -> Result<(), Error> {
        self.sends.flush().await
    }
}

impl Service<Message> for Publisher {
    type Response = Receipt;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Receipt, BoxError>>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> task::Poll<Result<(), BoxError>> {
        task::Poll::Ready(Ok(())) // each send waits for the stack's own readiness
    }

    fn call(&mut self, message: Message) -> Self::Future {
        self.send(message)
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("sends", &self.sends).finish()
    }
}

type Sending = BoxFuture<'static, Result<Receipt, BoxError>>;

/// A stack whose type is hidden, so that handlers can name a publisher.
trait Erased: Send + Sync {
    fn send(self: Arc<Self>, message: Message, here: Option<Context>, sends: Arc<Sends>) -> Sending;
}

/// A stack that each send clones: no lock.
struct Cloned<S>(S);

impl<S> Erased for Cloned<S>
where
    S: Service<Message, Response = Receipt> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
{
    fn send(self: Arc<Self>, message: Message, here: Option<Context>, sends: Arc<Sends>) -> Sending {
        let mut stack = self.0.clone();
        Box::pin(async move {
            let _open = sends.open();
            poll_fn(|cx| stack.poll_ready(cx)).await.map_err(Into::into)?;
            let future = {
                let _current = here.map(Context::attach);
                stack.call(message)
            };
            future.await.map_err(Into::into)
        })
    }
}

/// Any stack: a fair lock while it becomes ready and is called, not while its future runs.
struct Locked<S>(tokio::sync::Mutex<S>);

impl<S> Erased for Locked<S>
where
    S: Service<Message, Response = Receipt> + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
{
    fn send(self: Arc<Self>, message: Message, here: Option<Context>, sends: Arc<Sends>) -> Sending {
        Box::pin(async move {
            let _open = sends.open();
            let future = {
                let mut stack = self.0.lock().await;
                poll_fn(|cx| stack.poll_ready(cx)).await.map_err(Into::into)?;
                let _current = here.map(Context::attach);
                stack.call(message)
            };
            future.await.map_err(Into::into)
        })
    }
}
