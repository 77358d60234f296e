//! Work that leaves the handler's task.

use crate::{
    Inbox, Site, Stage,
    steps::{copy, named, note, pass_on},
};
use futures_util::future::BoxFuture;
use opentelemetry::trace::FutureExt as _;
use std::task::{Context, Poll};
use throughline::{BoxError, Message, Publisher, State, TraceContext, Worker, forward, handler_with};
use throughline_test::Expect;
use tower::{Service, ServiceBuilder, ServiceExt, layer::layer_fn};

/// A send's future that is spawned and one of many sends, a message that is forwarded from a task, a task and a thread that are given
/// `Message::context()`: all six sends are below the process span.
pub async fn a_send_from_another_task_or_thread_stays_in_the_trace<B: Site>(broker: &B) {
    let mut stage = Stage::new(broker);
    let (first, second) = (stage.topic(1).await, stage.topic(1).await);
    let onward = stage.publisher(&second);
    let (told, mut inbox) = Inbox::new();
    stage.spawn(Worker::new("first", stage.subscription(&first), move || {
        handler_with(onward.clone(), send_from_elsewhere)
    }));
    stage.spawn(Worker::new("second", stage.subscription(&second), move || handler_with(told.clone(), note)));
    stage.publisher(&first).send(Message::new("1")).await.unwrap();
    inbox.take(6).await;
    let graph = stage.end().await;

    // The forwarded one also links to where it came from.
    let expect = Expect::new().spans(14).sends(7).process_spans(7).links(8).traces(8).components(1);
    graph.check(&expect).unwrap();
    let process = named(&graph, &format!("{} {first}", B::PROCESS))[0];
    for send in named(&graph, &format!("send {second}")) {
        assert_eq!(send.parent, Some(process.id));
    }
}

/// A layer of the user's that runs what is below it on a task of its own, around the handler and around the publisher:
/// the handler's context is that of its message, and the send is below it.
pub async fn layers_that_change_the_task_cut_nothing<B: Site>(broker: &B) {
    let mut stage = Stage::new(broker);
    let (first, second) = (stage.topic(1).await, stage.topic(1).await);
    let onward = stage.publisher(&second).layer(layer_fn(Elsewhere));
    let (told, mut inbox) = Inbox::new();
    stage.spawn(Worker::new("first", stage.subscription(&first), move || {
        ServiceBuilder::new().layer_fn(Elsewhere).service(handler_with(onward.clone(), pass_on))
    }));
    stage.spawn(Worker::new("second", stage.subscription(&second), move || handler_with(told.clone(), note)));
    stage.publisher(&first).send(Message::new("1")).await.unwrap();
    inbox.next().await;
    let graph = stage.end().await;

    let expect = Expect::new().spans(4).sends(2).process_spans(2).links(2).traces(3).components(1);
    graph.check(&expect).unwrap();
    let process = named(&graph, &format!("{} {first}", B::PROCESS))[0];
    assert_eq!(named(&graph, &format!("send {second}"))[0].parent, Some(process.id));
}

/// Calls and runs the service below it on another task.
#[derive(Clone)]
struct Elsewhere<S>(S);

impl<S> Service<Message> for Elsewhere<S>
where
    S: Service<Message> + Clone + Send + 'static,
    S::Response: Send,
    S::Error: Into<BoxError>,
    S::Future: Send,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<S::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(())) // waited for on the other task
    }

    fn call(&mut self, message: Message) -> Self::Future {
        let below = self.0.clone();
        let there = tokio::spawn(async move { below.oneshot(message).await.map_err(Into::into) });
        Box::pin(async move { there.await? })
    }
}

async fn send_from_elsewhere(message: Message, State(onward): State<Publisher>) -> Result<(), BoxError> {
    tokio::spawn(onward.send(copy(&message))).await??;

    let many = [&message, &message];
    for receipt in tokio::spawn(onward.send_all(many.iter().map(|message| copy(message)))).await? {
        receipt?;
    }

    let (publisher, received) = (onward.clone(), message.clone());
    tokio::spawn(async move { publisher.send(forward(&received)).await }).await??;

    let (publisher, next) = (onward.clone(), copy(&message));
    tokio::spawn(async move { publisher.send(next).await }.with_context(message.context())).await??;

    let (next, context) = (copy(&message), message.context());
    let sending = tokio::task::spawn_blocking(move || {
        let _current = context.attach();
        onward.send(next)
    });
    sending.await?.await?;
    Ok(())
}
