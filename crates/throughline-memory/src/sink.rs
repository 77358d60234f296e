//! Sends to one topic.

use crate::{
    broker::{Broker, Sent},
    fault::injected_panic,
    shared::Shared,
};
use std::{
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::SystemTime,
};
use throughline_core::{Destination, Endpoint, Error, Message, Receipt};
use tower_service::Service;

/// A sink for one topic of a [`Memory`](crate::Memory), made by [`Memory::topic`](crate::Memory::topic).
///
/// `call` publishes at once, in the order of the calls. A message for a full partition waits: its future is pending
/// until there is room, and until then `poll_ready` is pending for all sinks of the topic.
///
/// # Errors
/// [`NotFound`](throughline_core::ErrorKind::NotFound) for a topic that does not exist, unless topics are made as they
/// are named, and for a [`Message::partition`] that the topic does not have.
pub struct MemorySink {
    shared: Arc<Shared>,
    topic: Arc<str>,
    destination: Arc<Destination>,
    waiter: Waiter,
}

impl MemorySink {
    pub(crate) fn new(shared: Arc<Shared>, topic: String) -> Self {
        let destination = Broker::destination(&topic);
        MemorySink { waiter: Waiter::new(shared.clone()), shared, topic: topic.into(), destination }
    }
}

impl Clone for MemorySink {
    fn clone(&self) -> Self {
        MemorySink {
            shared: self.shared.clone(),
            topic: self.topic.clone(),
            destination: self.destination.clone(),
            waiter: Waiter::new(self.shared.clone()),
        }
    }
}

impl Service<Message> for MemorySink {
    type Response = Receipt;
    type Error = Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.waiter
            .poll(cx, |broker| broker.find(&self.topic).is_some_and(|id| broker.is_crowded(id)))
            .map(Ok)
    }

    fn call(&mut self, message: Message) -> ResponseFuture {
        let now = SystemTime::now();
        let state = match self.shared.with(|broker, fx| broker.send(&self.topic, message, now, fx)) {
            Ok(Sent::Done(receipt)) => State::Done(Ok(receipt)),
            Ok(Sent::Waits(ticket)) => State::Waits(self.shared.clone(), ticket),
            Ok(Sent::Panics) => injected_panic(),
            Err(error) => State::Done(Err(error)),
        };
        ResponseFuture(state)
    }
}

impl Endpoint for MemorySink {
    fn destination(&self) -> Arc<Destination> {
        self.destination.clone()
    }

    /// Waits until every send to this topic is answered, those held by a fault included.
    async fn flush(&self) -> Result<(), Error> {
        let waiter = Waiter::new(self.shared.clone());
        let owes = |broker: &Broker| broker.find(&self.topic).is_some_and(|id| broker.owes_an_answer(id));
        poll_fn(|cx| waiter.poll(cx, owes)).await;
        Ok(())
    }
}

/// The answer to a send to a [`MemorySink`].
///
/// # Cancel safety
/// Dropped while the message waits for room, it takes the message back.
pub struct ResponseFuture(State);

enum State {
    Done(Result<Receipt, Error>),
    Waits(Arc<Shared>, u64),
    Taken,
}

impl Future for ResponseFuture {
    type Output = Result<Receipt, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match std::mem::replace(&mut self.0, State::Taken) {
            State::Done(answer) => Poll::Ready(answer),
            State::Waits(shared, ticket) => {
                let poll = shared.with(|broker, _| broker.poll_send(ticket, cx.waker()));
                if poll.is_pending() {
                    self.0 = State::Waits(shared, ticket);
                }
                poll.map(Ok)
            }
            State::Taken => Poll::Pending,
        }
    }
}

impl Drop for ResponseFuture {
    fn drop(&mut self) {
        if let State::Waits(shared, ticket) = &self.0 {
            shared.with(|broker, fx| broker.cancel_send(*ticket, fx));
        }
    }
}

/// A place among those who wait for room, given up with it.
struct Waiter {
    shared: Arc<Shared>,
    id: u64,
}

impl Waiter {
    fn new(shared: Arc<Shared>) -> Self {
        let id = shared.with(|broker, _| broker.next_id());
        Waiter { shared, id }
    }

    /// Pending as long as `must_wait`.
    fn poll(&self, cx: &mut Context<'_>, must_wait: impl FnOnce(&Broker) -> bool) -> Poll<()> {
        self.shared.with(|broker, _| {
            if !must_wait(broker) {
                return Poll::Ready(());
            }
            broker.room.wait(self.id, cx.waker());
            Poll::Pending
        })
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.shared.with(|broker, _| broker.room.forget(self.id));
    }
}

impl fmt::Debug for MemorySink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemorySink").field("topic", &self.topic).finish()
    }
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.0 {
            State::Done(_) => "done",
            State::Waits(..) => "waiting for room",
            State::Taken => "answered",
        };
        f.debug_tuple("ResponseFuture").field(&state).finish()
    }
}
