//! A user's own actor as the innermost service of a stack.

use crate::{FromMessage, handler::carried};
use actix::{
    dev::ToEnvelope,
    {Actor, Addr, Handler},
};
use futures_util::future::BoxFuture;
use std::{
    fmt,
    marker::PhantomData,
    sync::Arc,
    task::{Context, Poll},
};
use throughline_core::{BoxError, IntoSettlement, Message, Settlement};
use tokio::sync::Semaphore;
use tower_service::Service;

/// What [`ActorService`] sends: implement `Handler<Consume<Json<Order>>>` for the actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consume<T>(pub T);

impl<T: 'static> actix::Message for Consume<T> {
    type Result = Result<(), BoxError>;
}

/// A Tower service over an actor's address: takes a `T` from each message, sends it, and waits for the answer.
///
/// The actor's `Context` should be [`actor::Context`](super::Context), so that the trace goes on inside it. At most
/// `in_flight` messages are in its mailbox or in work: actix bounds no mailbox for `send`.
///
/// An actor that stopped or panicked answers with an error, so that the message is delivered again; start a new one
/// in the stack's factory, or supervise it with actix.
pub struct ActorService<A: Actor, T> {
    address: Addr<A>,
    permits: Arc<Semaphore>,
    takes: PhantomData<fn(T)>,
}

impl<A: Actor, T> ActorService<A, T> {
    /// Sends to this actor.
    pub fn new(address: Addr<A>, in_flight: usize) -> Self {
        ActorService { address, permits: Arc::new(Semaphore::new(in_flight.max(1))), takes: PhantomData }
    }
}

impl<A, T> Service<Message> for ActorService<A, T>
where
    A: Actor + Handler<Consume<T>>,
    A::Context: ToEnvelope<A, Consume<T>>,
    T: FromMessage<()> + Send + 'static,
{
    type Response = Settlement;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Settlement, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(())) // the permit is awaited in `call`, so that clones need none
    }

    fn call(&mut self, message: Message) -> Self::Future {
        let (address, permits) = (self.address.clone(), self.permits.clone());
        Box::pin(async move {
            let value = T::from_message(&message, &()).map_err(Into::into)?;
            let _permit = permits.acquire_owned().await?;
            let answer = {
                // The envelope takes the context that is current where it is packed.
                let _current = carried(message.extensions()).map(|context| context.attach());
                address.send(Consume(value))
            };
            answer.await?.into_settlement()
        })
    }
}

impl<A: Actor, T> Clone for ActorService<A, T> {
    fn clone(&self) -> Self {
        ActorService { address: self.address.clone(), permits: self.permits.clone(), takes: PhantomData }
    }
}

impl<A: Actor, T> fmt::Debug for ActorService<A, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActorService").field("permits", &self.permits.available_permits()).finish()
    }
}
