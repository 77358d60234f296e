//! `poll_ready` that says not yet.

use crate::{Inbox, Site, Stage, Told, steps::note, until};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};
use throughline::{BoxError, Message, State, Worker, handler_with};
use throughline_test::Expect;
use tokio::sync::watch;
use tower::{Service, ServiceBuilder, layer::layer_fn};

const MESSAGES: usize = 50;

/// Nothing is called while the stack is not ready, and everything once it is; the wake-up comes from the stack.
pub async fn nothing_is_called_before_it_is_ready<B: Site>(broker: &B) {
    let mut stage = Stage::new(broker);
    let topic = stage.topic(2).await;
    let (told, mut inbox) = Inbox::new();
    let open = watch::Sender::new(false);
    let door = open.subscribe();
    let stack = move || {
        let door = door.clone();
        ServiceBuilder::new()
            .layer(layer_fn(move |inner| Door { inner, door: door.clone(), wait: None }))
            .service(handler_with(told.clone(), note))
    };
    let handle = stage.spawn(Worker::new("w", stage.subscription(&topic), stack));
    let messages = (0..MESSAGES).map(|n| Message::new(n.to_string()));
    assert!(stage.publisher(&topic).send_all(messages).await.iter().all(Result::is_ok));
    until("all of them wait", || handle.status().waiting == MESSAGES).await;
    assert_eq!(handle.status().in_flight, 0);
    assert!(inbox.is_empty());
    open.send_replace(true);
    inbox.take(MESSAGES).await;
    let expect = Expect::new().sends(MESSAGES).process_spans(MESSAGES).components(MESSAGES);
    stage.end().await.check(&expect).unwrap();
}

/// tower's concurrency limit in the stack holds, below the permits of the worker.
pub async fn a_limit_in_the_stack_holds<B: Site>(broker: &B) {
    let mut stage = Stage::new(broker);
    let topic = stage.topic(2).await;
    let (told, mut inbox) = Inbox::new();
    let gauge = Arc::<Gauge>::default();
    let state = (told, gauge.clone());
    let stack =
        move || ServiceBuilder::new().concurrency_limit(3).service(handler_with(state.clone(), count));
    stage.spawn(Worker::new("w", stage.subscription(&topic), stack).in_flight(16));
    let messages = (0..MESSAGES).map(|n| Message::new(n.to_string()));
    assert!(stage.publisher(&topic).send_all(messages).await.iter().all(Result::is_ok));
    inbox.take(MESSAGES).await;
    let expect = Expect::new().sends(MESSAGES).process_spans(MESSAGES).components(MESSAGES);
    stage.end().await.check(&expect).unwrap();
    assert_eq!(gauge.most.load(Ordering::SeqCst), 3);
}

#[derive(Default)]
struct Gauge {
    now: AtomicUsize,
    most: AtomicUsize,
}

async fn count(message: Message, State((told, gauge)): State<(Told, Arc<Gauge>)>) {
    let now = gauge.now.fetch_add(1, Ordering::SeqCst) + 1;
    gauge.most.fetch_max(now, Ordering::SeqCst);
    // Long enough for others to start, were they let.
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    gauge.now.fetch_sub(1, Ordering::SeqCst);
    told.tell(message);
}

/// Ready once its door is open.
struct Door<S> {
    inner: S,
    door: watch::Receiver<bool>,
    wait: Option<futures_util::future::BoxFuture<'static, ()>>,
}

impl<S: Service<Message, Error = BoxError>> Service<Message> for Door<S> {
    type Response = S::Response;
    type Error = BoxError;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        let mut door = self.door.clone();
        let wait = self.wait.get_or_insert_with(|| {
            Box::pin(async move {
                let _ = door.wait_for(|open| *open).await;
            })
        });
        std::task::ready!(wait.as_mut().poll(cx));
        self.wait = None;
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, message: Message) -> S::Future {
        self.inner.call(message)
    }
}
