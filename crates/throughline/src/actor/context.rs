//! A context for a user's own actor that does not lose the trace.

use actix::{
    Message,
    dev::{
        Actor, ActorContext, ActorFuture, ActorState, Addr, AsyncContext, AsyncContextParts, ContextFut,
        ContextParts, Envelope, EnvelopeProxy, Handler, Mailbox, MessageResponse, OneshotSender, SpawnHandle,
        ToEnvelope,
    },
};
use opentelemetry::Context as TraceContext;
use pin_project_lite::pin_project;
use std::{
    fmt,
    pin::Pin,
    task::{self, Poll},
};

/// Like [`actix::Context`], but each envelope carries its sender's trace context, which is current in `handle` and in
/// every future that the handler gives to `spawn` or `wait`.
///
/// Use it as the actor's `Context` type and start the actor with [`Context::start`]. Answer with
/// `ResponseActFuture`: actix's boxed `ResponseFuture` goes straight to a task of its own, where no context is.
pub struct Context<A: Actor<Context = Context<A>>> {
    parts: ContextParts<A>,
}

impl<A: Actor<Context = Context<A>>> Context<A> {
    /// Starts the actor on the current actix system.
    ///
    /// # Panics
    /// Outside an actix system, like [`Actor::start`].
    pub fn start(actor: A) -> Addr<A> {
        let mailbox = Mailbox::default();
        let context = Context { parts: ContextParts::new(mailbox.sender_producer()) };
        let future = ContextFut::new(context, actor, mailbox);
        let address = future.address();
        #[allow(
            clippy::disallowed_methods,
            reason = "this is how an actor starts; its envelopes carry the context"
        )]
        actix::spawn(future);
        address
    }
}

impl<A: Actor<Context = Context<A>>> ActorContext for Context<A> {
    fn stop(&mut self) {
        self.parts.stop();
    }

    fn terminate(&mut self) {
        self.parts.terminate();
    }

    fn state(&self) -> ActorState {
        self.parts.state()
    }
}

impl<A: Actor<Context = Context<A>>> AsyncContext<A> for Context<A> {
    fn address(&self) -> Addr<A> {
        self.parts.address()
    }

    fn spawn<F: ActorFuture<A, Output = ()> + 'static>(&mut self, future: F) -> SpawnHandle {
        self.parts.spawn(Carried { future, context: TraceContext::current() })
    }

    fn wait<F: ActorFuture<A, Output = ()> + 'static>(&mut self, future: F) {
        self.parts.wait(Carried { future, context: TraceContext::current() });
    }

    fn waiting(&self) -> bool {
        self.parts.waiting()
    }

    fn cancel_future(&mut self, handle: SpawnHandle) -> bool {
        self.parts.cancel_future(handle)
    }
}

impl<A: Actor<Context = Context<A>>> AsyncContextParts<A> for Context<A> {
    fn parts(&mut self) -> &mut ContextParts<A> {
        &mut self.parts
    }
}

pin_project! {
    struct Carried<F> {
        #[pin]
        future: F,
        context: TraceContext,
    }
}

impl<A: Actor<Context = Context<A>>, F: ActorFuture<A>> ActorFuture<A> for Carried<F> {
    type Output = F::Output;

    fn poll(
        self: Pin<&mut Self>,
        actor: &mut A,
        context: &mut Context<A>,
        task: &mut task::Context<'_>,
    ) -> Poll<F::Output> {
        let this = self.project();
        let _current = this.context.clone().attach();
        this.future.poll(actor, context, task)
    }
}

/// An envelope's content with the context of its sender.
struct Proxy<M: Message> {
    message: Option<M>,
    answer: Option<OneshotSender<M::Result>>,
    context: TraceContext,
}

impl<A, M> EnvelopeProxy<A> for Proxy<M>
where
    A: Actor<Context = Context<A>> + Handler<M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn handle(&mut self, actor: &mut A, context: &mut Context<A>) {
        let answer = self.answer.take();
        // Nobody waits for the answer any more: actix leaves such a message out too.
        if answer.as_ref().is_some_and(OneshotSender::is_closed) {
            return;
        }
        if let Some(message) = self.message.take() {
            let _current = std::mem::take(&mut self.context).attach();
            let result = <A as Handler<M>>::handle(actor, message, context);
            result.handle(context, answer);
        }
    }
}

impl<A, M> ToEnvelope<A, M> for Context<A>
where
    A: Actor<Context = Context<A>> + Handler<M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn pack(message: M, answer: Option<OneshotSender<M::Result>>) -> Envelope<A> {
        let context = TraceContext::current();
        Envelope::with_proxy(Box::new(Proxy { message: Some(message), answer, context }))
    }
}

impl<A: Actor<Context = Context<A>>> fmt::Debug for Context<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Context")
    }
}
