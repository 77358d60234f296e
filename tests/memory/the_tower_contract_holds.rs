//! G13: every layer of ours keeps Tower's contract, shown over a probe that keeps its user to it.

use crate::site::Embedded;
use futures_util::future::BoxFuture;
use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};
use throughline::{
    Backoff, BoxError, CatchPanicLayer, Destination, Endpoint, Error, Message, Next, Publisher, Receipt,
    RetryLayer, Settlement, ShareLayer, Telemetry, Worker, from_fn,
};
use throughline_test::Expect;
use throughline_tests::{Stage, until, within};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::{Layer, Service, ServiceExt};

/// Panics when it is called without being ready, and is ready only with one of its permits, which it gives back when
/// its answer is there or when it is dropped.
struct Probe<T> {
    permits: Arc<Semaphore>,
    waiting: Option<Pin<Box<dyn Future<Output = OwnedSemaphorePermit> + Send + Sync>>>,
    ready: Option<OwnedSemaphorePermit>,
    /// Ready at the second poll only, so that nobody gets by with one.
    asked: bool,
    calls: Arc<AtomicUsize>,
    answer: T,
}

impl<T> Probe<T> {
    fn new(permits: usize, answer: T) -> Self {
        Probe {
            permits: Arc::new(Semaphore::new(permits)),
            waiting: None,
            ready: None,
            asked: false,
            calls: Arc::default(),
            answer,
        }
    }
}

impl<T: Clone> Clone for Probe<T> {
    /// A clone is not ready.
    fn clone(&self) -> Self {
        let (permits, calls) = (self.permits.clone(), self.calls.clone());
        Probe { permits, waiting: None, ready: None, asked: false, calls, answer: self.answer.clone() }
    }
}

impl<T: Clone + Send + 'static> Service<Message> for Probe<T> {
    type Response = T;
    type Error = Error;
    type Future = BoxFuture<'static, Result<T, Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if !std::mem::replace(&mut self.asked, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.ready.is_none() {
            let permits = self.permits.clone();
            let wait = self
                .waiting
                .get_or_insert_with(|| Box::pin(async move { permits.acquire_owned().await.unwrap() }));
            self.ready = Some(std::task::ready!(wait.as_mut().poll(cx)));
            self.waiting = None;
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Message) -> Self::Future {
        let permit = self.ready.take().expect("called without being ready");
        self.asked = false;
        self.calls.fetch_add(1, Ordering::SeqCst);
        let answer = self.answer.clone();
        Box::pin(async move {
            tokio::task::yield_now().await;
            drop(permit);
            Ok(answer)
        })
    }
}

impl Endpoint for Probe<Receipt> {
    fn destination(&self) -> Arc<Destination> {
        Arc::new(Destination::new("memory", "probe"))
    }
}

impl<T> fmt::Debug for Probe<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Probe")
    }
}

async fn pass(message: Message, next: Next) -> Result<Settlement, BoxError> {
    next.run(message).await
}

fn retry() -> RetryLayer<Backoff> {
    RetryLayer::new(Backoff::exponential(2))
}

fn handled() -> Probe<Settlement> {
    Probe::new(1, Settlement::Ack)
}

/// Calls it often, and its clones, also ready ones.
async fn exercise<S>(what: &str, service: S)
where
    S: Service<Message> + Clone,
    S::Error: fmt::Debug,
{
    within(what, async {
        let mut service = service;
        for _ in 0..10 {
            service.ready().await.unwrap().call(Message::new("1")).await.unwrap();
            service.clone().oneshot(Message::new("2")).await.unwrap();
        }
        // Ready, and dropped: its permit, the only one, is free again.
        let mut idle = service.clone();
        idle.ready().await.unwrap();
        drop(idle);
        service.oneshot(Message::new("3")).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn every_layer_calls_only_what_is_ready() {
    let tracing = Telemetry::off().tracing_layer();
    let mirror = Telemetry::off().mirror_layer(Arc::new(Destination::new("memory", "probe")));
    exercise("the probe", handled()).await;
    exercise("tracing", tracing.layer(handled())).await;
    exercise("mirror", mirror.layer(handled())).await;
    exercise("catch panic", CatchPanicLayer.layer(handled())).await;
    exercise("share", ShareLayer.layer(handled())).await;
    exercise("from_fn", from_fn(pass).layer(handled())).await;
    exercise("retry", retry().layer(handled())).await;
    exercise(
        "all at once",
        retry().layer(from_fn(pass).layer(ShareLayer.layer(CatchPanicLayer.layer(handled())))),
    )
    .await;
    let publisher = Publisher::new(Probe::new(1, Receipt::default()));
    exercise("a publisher", publisher.clone()).await;
    exercise("a layered publisher", publisher.layer(ShareLayer)).await;
}

#[tokio::test]
async fn a_thousand_idle_ready_clones_do_not_deadlock() {
    async fn idle<S>(what: &str, service: S)
    where
        S: Service<Message> + Clone,
        S::Error: fmt::Debug,
    {
        within(what, async {
            let mut clones = vec![service.clone(); 1_000];
            for clone in &mut clones {
                clone.ready().await.unwrap();
            }
            service.oneshot(Message::new("1")).await.unwrap();
            // And each of them can still be called.
            for clone in &mut clones {
                clone.call(Message::new("2")).await.unwrap();
            }
        })
        .await;
    }
    idle("share", ShareLayer.layer(handled())).await;
    idle("from_fn", from_fn(pass).layer(handled())).await;
    let publisher = Publisher::new(Probe::new(1, Receipt::default()));
    idle("a publisher", publisher.clone()).await;
    idle("a layered publisher", publisher.layer(ShareLayer)).await;
}

#[tokio::test]
async fn a_cancelled_call_frees_its_permit() {
    async fn cancel<S: Service<Message> + Clone>(what: &str, service: S)
    where
        S::Error: fmt::Debug,
    {
        within(what, async {
            let mut first = Box::pin(service.clone().oneshot(Message::new("1")));
            // Somewhere on its way.
            for _ in 0..4 {
                let polled = futures_util::poll!(Pin::new(&mut first));
                if polled.is_ready() {
                    break;
                }
            }
            drop(first);
            service.oneshot(Message::new("2")).await.unwrap();
        })
        .await;
    }
    cancel("share", ShareLayer.layer(handled())).await;
    cancel("from_fn", from_fn(pass).layer(handled())).await;
    cancel("catch panic", CatchPanicLayer.layer(handled())).await;
    cancel("retry", retry().layer(handled())).await;
    let publisher = Publisher::new(Probe::new(1, Receipt::default()));
    cancel("a publisher", publisher.clone()).await;
    cancel("a layered publisher", publisher.layer(ShareLayer)).await;
}

/// The worker's own layers around it: tracing, settling and the guard, and the loop itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_calls_only_what_is_ready() {
    const MESSAGES: usize = 200;
    let broker = Embedded::new();
    let mut stage = Stage::new(&broker);
    let topic = stage.topic(4).await;
    let probe = Probe::new(3, Settlement::Ack);
    let calls = probe.calls.clone();
    let worker = Worker::new("w", stage.subscription(&topic), move || probe.clone());
    let handle = stage.spawn(worker.in_flight(16));
    let messages = (0..MESSAGES).map(|n| Message::new(n.to_string()));
    assert!(stage.publisher(&topic).send_all(messages).await.iter().all(Result::is_ok));
    until("everything is handled", || handle.status().counts.acked == MESSAGES as u64).await;
    let counts = handle.status().counts;
    assert_eq!((counts.panicked, counts.nacked, handle.status().restarts), (0, 0, 0));
    assert_eq!(calls.load(Ordering::SeqCst), MESSAGES);
    let expect = Expect::new().sends(MESSAGES).process_spans(MESSAGES).components(MESSAGES);
    stage.end().await.check(&expect).unwrap();
}
