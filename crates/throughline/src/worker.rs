//! The description of a worker.

use crate::{
    batcher::{BatchPolicy, Batcher},
    incarnation::{Exit, Surroundings, live},
    lanes::{Lanes, Ordering},
    middleware::{Answering, DeadLetter, OnReject, Redelay},
    stack,
    work_loop::{Settings, Supplies, WorkLoop},
};
use futures_util::future::BoxFuture;
use std::{fmt, future::Future, sync::Arc, time::Duration};
use throughline_core::{
    Batch, BoxError, Error, ErrorKind, IntoAnswers, IntoSettlement, Message, Redelivery, Source, Subscription,
};
use throughline_trace::{Relation, TracingLayer};
use tower_service::Service;

/// How often a worker that fails is started again.
///
/// The wait before a start doubles from `first` to `longest`, give or take a quarter. A worker that then ran for
/// `quiet` begins anew; one that fails more than `at_most` times without that gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restarts {
    /// How many restarts there are before it gives up.
    pub at_most: u32,
    /// The wait before the first.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
    /// How long it must run to be forgiven.
    pub quiet: Duration,
}

impl Default for Restarts {
    /// Ten, from 100 ms to 30 s, forgiven after a minute.
    fn default() -> Self {
        Restarts {
            at_most: 10,
            first: Duration::from_millis(100),
            longest: Duration::from_secs(30),
            quiet: Duration::from_secs(60),
        }
    }
}

/// What happens to a running handler whose message is no longer ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnLeaseLost {
    /// It is cancelled: somebody else has the message, or soon will.
    #[default]
    Cancel,
    /// It runs on and may ask its [`Lease`](crate::Lease); its answer has no effect.
    Tell,
}

/// A worker: a name, a subscription, and a factory of the stack that handles its messages.
///
/// The stack is any Tower service of [`Message`] whose answer is [`IntoSettlement`]: it need not be `Clone`, since each
/// loop owns one. The factory runs at every start, once a replica, inside the runtime that the stack will run on.
/// Around it the worker puts a tracing layer, the settling and a guard against panics; none can be left out. With
/// [`batches`](Self::batches) it is a service of [`Batch`] in place of [`Message`].
///
/// ```
/// use throughline::{Json, Ordering, RetryLayer, Backoff, Worker, handler, memory::Memory};
/// use std::time::Duration;
/// use tower::ServiceBuilder;
///
/// async fn count(Json(number): Json<u64>) {
///     println!("{number}");
/// }
///
/// let broker = Memory::new();
/// let worker = Worker::new("count", broker.subscribe("numbers").group("g"), || {
///     ServiceBuilder::new()
///         .layer(RetryLayer::new(Backoff::exponential(3)))
///         .timeout(Duration::from_secs(30))
///         .service(handler(count))
/// })
/// .in_flight(256)
/// .ordering(Ordering::Key);
/// ```
#[must_use = "a worker runs once it is given to `Runtime::spawn`"]
pub struct Worker {
    pub(crate) name: String,
    pub(crate) replicas: usize,
    pub(crate) restarts: Restarts,
    pub(crate) relation: Option<Relation>,
    settings: Settings,
    ordering: Ordering,
    redelivery: Redelivery,
    redelay: Redelay,
    dead_letter: Option<DeadLetter>,
    on_reject: OnReject,
    make: Box<dyn FnOnce(Settings, Ordering, Answering) -> Live + Send>,
}

/// Starts one incarnation; the types of subscription and stack are hidden here, once for each start.
pub(crate) type Live = Arc<dyn Fn(Surroundings) -> BoxFuture<'static, Exit> + Send + Sync>;

impl Worker {
    /// `stack` is called at every start.
    pub fn new<Sub, F, S>(name: impl Into<String>, subscription: Sub, stack: F) -> Self
    where
        Sub: Subscription,
        F: Fn() -> S + Send + Sync + 'static,
        S: Service<Message> + Send + 'static,
        S::Response: IntoSettlement + 'static,
        S::Error: Into<BoxError> + 'static,
        S::Future: Send + 'static,
    {
        Worker::make(name, subscription, 256, None, move |ordering, answering| {
            let factory = Arc::new(stack);
            move |tracing: TracingLayer, supplies: Supplies<_>| {
                let (factory, answering) = (factory.clone(), answering.clone());
                async move {
                    let stack = stack::one(tracing, answering, factory());
                    WorkLoop::new(stack, Lanes::new(ordering), supplies).run().await
                }
            }
        })
    }

    /// The stack handles several messages in one call: as many as the policy says, of one partition, one batch of it
    /// after the other; with [`Ordering::None`] of any, side by side.
    ///
    /// It answers for all of them or for each ([`IntoAnswers`]). A batch that **fails as a whole** (an error, a panic, a
    /// timeout) is nacked message by message. They come again in smaller batches (see [`BatchPolicy`]), so that the one
    /// that cannot be handled is found, and only what fails alone, or is named, goes to the dead letters for its number
    /// of deliveries. A nacked message holds what [`ordering`](Self::ordering) says is ordered with it, as ever.
    ///
    /// A batch has one process span, which links to what made each message. It is cancelled for a lost lease only if
    /// all its messages are lost.
    ///
    /// ```
    /// use std::time::Duration;
    /// use throughline::{BatchPolicy, BoxError, Json, Worker, batch_handler, memory::Memory};
    /// use tower::ServiceBuilder;
    ///
    /// async fn store(numbers: Vec<Json<u64>>) -> Result<(), BoxError> {
    ///     println!("{} at once", numbers.len());
    ///     Ok(())
    /// }
    ///
    /// let broker = Memory::new();
    /// let policy = BatchPolicy::at_most(500).within(Duration::from_millis(20));
    /// let worker = Worker::batches("store", broker.subscribe("numbers").group("g"), policy, || {
    ///     ServiceBuilder::new().timeout(Duration::from_secs(30)).service(batch_handler(store))
    /// });
    /// ```
    pub fn batches<Sub, F, S>(
        name: impl Into<String>,
        subscription: Sub,
        policy: BatchPolicy,
        stack: F,
    ) -> Self
    where
        Sub: Subscription,
        F: Fn() -> S + Send + Sync + 'static,
        S: Service<Batch> + Send + 'static,
        S::Response: IntoAnswers + 'static,
        S::Error: Into<BoxError> + 'static,
        S::Future: Send + 'static,
    {
        Worker::make(name, subscription, 16, Some(policy.at_most), move |ordering, answering| {
            let factory = Arc::new(stack);
            move |tracing: TracingLayer, supplies: Supplies<_>| {
                let (factory, answering) = (factory.clone(), answering.clone());
                async move {
                    let stack = stack::batch(tracing, answering, factory());
                    WorkLoop::new(stack, Batcher::new(policy, ordering), supplies).run().await
                }
            }
        })
    }

    /// `batch` is how many messages a handler is given at most, where it is given batches.
    fn make<Sub, M, W, Fut>(
        name: impl Into<String>,
        subscription: Sub,
        in_flight: usize,
        batch: Option<usize>,
        make: M,
    ) -> Self
    where
        Sub: Subscription,
        M: FnOnce(Ordering, Arc<Answering>) -> W + Send + 'static,
        W: Fn(TracingLayer, Supplies<<Sub::Source as Source>::Settler>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        let redelivery = subscription.redelivery();
        let make = Box::new(move |settings: Settings, ordering, answering| -> Live {
            if subscription.in_order() && (ordering != Ordering::Partition || batch.is_none()) {
                return Arc::new(|_| Box::pin(async { Exit::Failed(not_in_order().into()) }));
            }
            let capacity = subscription.capacity(settings.in_flight.saturating_mul(batch.unwrap_or(1)));
            let (subscription, work) =
                (Arc::new(subscription), Arc::new(make(ordering, Arc::new(answering))));
            Arc::new(move |around| {
                Box::pin(live(subscription.clone(), work.clone(), capacity, settings, around))
            })
        });
        Worker {
            name: name.into(),
            replicas: 1,
            restarts: Restarts::default(),
            relation: None,
            settings: Settings { in_flight, on_lease_lost: OnLeaseLost::default() },
            ordering: Ordering::default(),
            redelivery,
            redelay: Redelay::default(),
            dead_letter: None,
            on_reject: OnReject::default(),
            make,
        }
    }

    /// How many handlers run at once in each replica, at least 1; if not said, 256 of messages or 16 of batches.
    pub fn in_flight(mut self, handlers: usize) -> Self {
        self.settings.in_flight = handlers.max(1);
        self
    }

    /// What is handled one at a time; by key if not said.
    pub fn ordering(mut self, ordering: Ordering) -> Self {
        self.ordering = ordering;
        self
    }

    /// How many such workers run, each with its own source (a member of the group), stack and loop; 1 if not said.
    /// This is how a worker uses more cores.
    pub fn replicas(mut self, replicas: usize) -> Self {
        self.replicas = replicas.max(1);
        self
    }

    /// How often it is started again.
    pub fn restarts(mut self, restarts: Restarts) -> Self {
        self.restarts = restarts;
        self
    }

    /// How process spans relate to the context that a message came with; the telemetry's setting if not said.
    pub fn relation(mut self, relation: Relation) -> Self {
        self.relation = Some(relation);
        self
    }

    /// How long a nacked message waits.
    pub fn redelay(mut self, redelay: Redelay) -> Self {
        self.redelay = redelay;
        self
    }

    /// Where rejected messages go, and those that failed too often.
    pub fn dead_letter(mut self, letters: DeadLetter) -> Self {
        self.dead_letter = Some(letters);
        self
    }

    /// What becomes of a rejected message where there are no dead letters; held if not said.
    pub fn on_reject(mut self, on_reject: OnReject) -> Self {
        self.on_reject = on_reject;
        self
    }

    /// What happens to a handler whose message is no longer ours; cancelled if not said.
    pub fn on_lease_lost(mut self, on_lease_lost: OnLeaseLost) -> Self {
        self.settings.on_lease_lost = on_lease_lost;
        self
    }

    pub(crate) fn has_dead_letters(&self) -> bool {
        self.dead_letter.is_some()
    }

    pub(crate) fn into_live(self) -> Live {
        let answering = Answering {
            redelivery: self.redelivery,
            redelay: self.redelay,
            dead_letter: self.dead_letter,
            on_reject: self.on_reject,
        };
        (self.make)(self.settings, self.ordering, answering)
    }
}

fn not_in_order() -> Error {
    let remedy = "this subscription wants `Worker::batches` with `Ordering::Partition`";
    Error::new(ErrorKind::Config, "ordering", remedy)
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("name", &self.name)
            .field("replicas", &self.replicas)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
