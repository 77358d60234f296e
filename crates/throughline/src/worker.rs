//! The description of a worker.

use crate::{
    incarnation::{Exit, Surroundings, live},
    lanes::Ordering,
    middleware::{Answering, DeadLetter, OnReject, Redelay},
    work_loop::{OnLeaseLost, Settings},
};
use futures_util::future::BoxFuture;
use std::{fmt, sync::Arc, time::Duration};
use throughline_core::{BoxError, IntoSettlement, Message, Redelivery, Subscription};
use throughline_trace::Relation;
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

/// A worker: a name, a subscription, and a factory of the stack that handles its messages.
///
/// The stack is any Tower service of [`Message`] whose answer is [`IntoSettlement`]: it need not be `Clone`, since each
/// loop owns one. The factory runs at every start, once a replica, inside the runtime that the stack will run on.
/// Around it the worker puts a tracing layer, the settling and a guard against panics; none can be left out.
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
    redelivery: Redelivery,
    redelay: Redelay,
    dead_letter: Option<DeadLetter>,
    on_reject: OnReject,
    make: Box<dyn FnOnce(Settings, Answering) -> Live + Send>,
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
        let redelivery = subscription.redelivery();
        let make = Box::new(move |settings: Settings, answering: Answering| -> Live {
            let answering = Arc::new(answering);
            let (subscription, factory) = (Arc::new(subscription), Arc::new(stack));
            Arc::new(move |around| {
                let life = live(subscription.clone(), factory.clone(), answering.clone(), settings, around);
                Box::pin(life)
            })
        });
        Worker {
            name: name.into(),
            replicas: 1,
            restarts: Restarts::default(),
            relation: None,
            settings: Settings {
                in_flight: 256,
                ordering: Ordering::default(),
                on_lease_lost: OnLeaseLost::default(),
            },
            redelivery,
            redelay: Redelay::default(),
            dead_letter: None,
            on_reject: OnReject::default(),
            make,
        }
    }

    /// How many handlers run at once in each replica; 256 if not said, at least 1.
    pub fn in_flight(mut self, handlers: usize) -> Self {
        self.settings.in_flight = handlers.max(1);
        self
    }

    /// What is handled one at a time; by key if not said.
    pub fn ordering(mut self, ordering: Ordering) -> Self {
        self.settings.ordering = ordering;
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
        (self.make)(self.settings, answering)
    }
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
