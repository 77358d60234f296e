//! A stack that fails as a whole: the worker starts again, with a new stack, and takes up what it held.

use crate::{
    Inbox, Site, Stage,
    steps::{error_type, hush_injected_panics, named, note},
    within,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};
use throughline::{BoxError, Message, Worker, handler_with};
use throughline_test::{Expect, fault::StallLayer};
use tower::{Service, ServiceBuilder, layer::layer_fn};

/// An error from `poll_ready`.
pub async fn a_stack_that_fails_is_built_again<B: Site>(broker: &B) {
    restart(broker, false).await;
}

/// A panic in `poll_ready`.
pub async fn a_stack_that_panics_is_built_again<B: Site>(broker: &B) {
    hush_injected_panics();
    restart(broker, true).await;
}

/// One handler runs when the stack fails: its span ends as cancelled, and its message and the one that waited come
/// again, each linked to its own send.
async fn restart<B: Site>(broker: &B, panics: bool) {
    let mut stage = Stage::new(broker);
    let topic = stage.topic(1).await;
    let ((told, mut inbox), (stall, gate)) = (Inbox::new(), StallLayer::new());
    let armed = Arc::new(AtomicBool::new(false));
    let trap = armed.clone();
    let stack = move || {
        let trap = trap.clone();
        ServiceBuilder::new()
            .layer(layer_fn(move |inner| Trap { inner, armed: trap.clone(), panics }))
            .layer(stall.clone())
            .service(handler_with(told.clone(), note))
    };
    let handle = stage.spawn(Worker::new("w", stage.subscription(&topic), stack));
    let publisher = stage.publisher(&topic);
    publisher.send(Message::new("runs")).await.unwrap();
    within("the first handler runs", gate.until_held(1)).await;
    armed.store(true, Ordering::SeqCst);
    publisher.send(Message::new("waits")).await.unwrap();
    within("both handlers run after the restart", gate.until_held(2)).await;
    let status = handle.status();
    assert_eq!(status.restarts, 1, "{status:?}");
    assert!(status.error.is_some_and(|error| error.contains("injected")));
    gate.open();
    inbox.take(2).await;
    let restarts = stage.measures().await.sum("throughline.worker.restarts", &[("throughline.worker", "w")]);
    assert_eq!(restarts, 1.0);
    let again = stage.redeliveries(1);
    let graph = stage.end().await;

    let expect = Expect::new().spans(5).sends(2).process_spans(3).links(3).redeliveries(again).components(2);
    graph.check(&expect).unwrap();
    let spans = named(&graph, &format!("{} {topic}", B::PROCESS));
    let errors: Vec<_> = spans.iter().map(|span| error_type(span)).collect();
    assert_eq!(errors, [Some("cancelled".to_owned()), None, None]);
}

/// Fails once when it is asked whether it is ready.
struct Trap<S> {
    inner: S,
    armed: Arc<AtomicBool>,
    panics: bool,
}

impl<S: Service<Message>> Service<Message> for Trap<S>
where
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    S::Response: 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = futures_util::future::BoxFuture<'static, Result<S::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if self.armed.swap(false, Ordering::SeqCst) {
            assert!(!self.panics, "injected panic in poll_ready");
            return Poll::Ready(Err("injected failure of poll_ready".into()));
        }
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, message: Message) -> Self::Future {
        let future = self.inner.call(message);
        Box::pin(async move { future.await.map_err(Into::into) })
    }
}
