//! A real server (the emulator), Google's own client beside ours, and a worker's side of a source, driven by hand.

#![allow(dead_code, reason = "each test needs its part of it")]

use google_cloud_auth::credentials::{Credentials, anonymous};
use google_cloud_pubsub::{
    client::{Publisher, SubscriptionAdmin, TopicAdmin},
    model::{DeadLetterPolicy, Message as Native},
};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use throughline_core::{
    Capacity, Delivery, Demand, DemandControl, Error, Event, Observe, Settlement, Settler, Source,
    Subscription,
};
use throughline_pubsub::{PubSub, PubSubSettler, PubSubSubscription};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};

pub(crate) const PROJECT: &str = "throughline";
/// Longer than anything that must come takes.
pub(crate) const BOUND: Duration = Duration::from_secs(60);

/// Where the server is.
pub(crate) fn address() -> String {
    std::env::var("THROUGHLINE_PUBSUB").expect("`cargo xtask test` starts a server and says where in it")
}

fn anonymous() -> Credentials {
    anonymous::Builder::new().build()
}

/// A topic and a subscription to it, of a name that nobody else uses.
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) pubsub: PubSub,
}

/// What a subscription is like.
#[derive(Clone, Copy, Default)]
pub(crate) struct Kind {
    pub(crate) ordered: bool,
    /// With a dead-letter policy of so many deliveries.
    pub(crate) deliveries: Option<i32>,
}

impl Place {
    pub(crate) async fn new(kind: Kind) -> Place {
        let place = Place {
            name: format!("wire-{:016x}", fastrand::u64(..)),
            pubsub: PubSub::emulator(address(), PROJECT),
        };
        place.create_topic(&place.topic()).await;
        if kind.deliveries.is_some() {
            place.create_topic(&format!("{}-dead", place.topic())).await;
        }
        place.subscribe(kind).await;
        place
    }

    pub(crate) fn topic(&self) -> String {
        format!("projects/{PROJECT}/topics/{}", self.name)
    }

    pub(crate) fn subscription(&self) -> String {
        format!("projects/{PROJECT}/subscriptions/{}", self.name)
    }

    async fn create_topic(&self, name: &str) {
        let topics = TopicAdmin::builder().with_endpoint(format!("http://{}", address()));
        let topics = topics.with_credentials(anonymous()).build().await.unwrap();
        topics.create_topic().set_name(name).send().await.unwrap();
    }

    pub(crate) async fn admin(&self) -> SubscriptionAdmin {
        let admin = SubscriptionAdmin::builder().with_endpoint(format!("http://{}", address()));
        admin.with_credentials(anonymous()).build().await.unwrap()
    }

    pub(crate) async fn subscribe(&self, kind: Kind) {
        let admin = self.admin().await;
        let mut make = admin.create_subscription().set_name(self.subscription()).set_topic(self.topic());
        make = make.set_ack_deadline_seconds(10).set_enable_message_ordering(kind.ordered);
        if let Some(most) = kind.deliveries {
            let policy = DeadLetterPolicy::new().set_max_delivery_attempts(most);
            make =
                make.set_dead_letter_policy(policy.set_dead_letter_topic(format!("{}-dead", self.topic())));
        }
        make.send().await.unwrap();
    }

    pub(crate) async fn unsubscribe(&self) {
        self.admin().await.delete_subscription().set_subscription(self.subscription()).send().await.unwrap();
    }

    /// Publishes by Google's client.
    pub(crate) async fn publish(&self, messages: impl IntoIterator<Item = Native>) {
        let publisher = Publisher::builder(self.topic()).with_endpoint(format!("http://{}", address()));
        let publisher = publisher.with_credentials(anonymous()).build().await.unwrap();
        let sent: Vec<_> = messages.into_iter().map(|message| publisher.publish(message)).collect();
        publisher.flush().await;
        for one in sent {
            one.await.unwrap();
        }
    }

    pub(crate) async fn publish_bodies(&self, bodies: impl IntoIterator<Item = impl ToString>) {
        self.publish(bodies.into_iter().map(|body| Native::new().set_data(body.to_string()))).await;
    }

    /// With the shortest leases: the emulator does not notice for seconds that a stream was closed, and what it sends
    /// into it comes again only when its lease is over.
    pub(crate) fn source(&self) -> PubSubSubscription {
        self.pubsub.subscribe(&self.name).lease(Duration::from_secs(10))
    }
}

/// What the adapter said.
#[derive(Default)]
pub(crate) struct Seen(Mutex<Vec<String>>);

impl Observe for Seen {
    fn observe(&self, event: Event<'_>) {
        let text = match event {
            Event::Reconnecting { error } => format!("away {}: {error}", error.kind().as_str()),
            Event::Reconnected => "back".to_owned(),
            Event::LeaseLost { count, .. } => format!("lost {count}"),
            Event::Settled(settled) => format!("{} {}", settled.how.as_str(), settled.count),
            _ => return,
        };
        self.0.lock().unwrap().push(text);
    }
}

impl Seen {
    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn count(&self, begin: &str) -> usize {
        self.all().iter().filter(|text| text.starts_with(begin)).count()
    }
}

pub(crate) type Given = Delivery<PubSubSettler>;

/// The worker's side of a source.
pub(crate) struct Side {
    pub(crate) control: DemandControl,
    pub(crate) seen: Arc<Seen>,
    batches: mpsc::UnboundedReceiver<Vec<Given>>,
    ready: VecDeque<Given>,
    close: oneshot::Sender<Instant>,
    pump: JoinHandle<Result<(), Error>>,
}

impl Side {
    pub(crate) async fn open(subscription: PubSubSubscription, room: usize) -> Side {
        Side::try_open(subscription, room).await.unwrap()
    }

    pub(crate) async fn try_open(subscription: PubSubSubscription, room: usize) -> Result<Side, Error> {
        let (control, demand) = Demand::new(Capacity { messages: room, bytes: usize::MAX });
        let seen = Arc::<Seen>::default();
        let mut source = subscription.subscribe(demand, seen.clone()).await?;
        let (to, batches) = mpsc::unbounded_channel();
        let (close, closed) = oneshot::channel();
        let room = control.clone();
        let pump = Handle::current().spawn(async move {
            loop {
                let batch: Vec<Given> = source.receive().await?;
                if batch.is_empty() {
                    drop(to);
                    return source.close(closed.await.unwrap()).await;
                }
                let bytes = batch.iter().map(|delivery| delivery.message.size()).sum();
                room.take(Default::default(), batch.len(), bytes);
                let _ = to.send(batch);
            }
        });
        Ok(Side { control, seen, batches, ready: VecDeque::new(), close, pump })
    }

    /// The next, if it comes within this time.
    pub(crate) async fn within(&mut self, time: Duration) -> Option<Given> {
        if self.ready.is_empty() {
            self.ready.extend(timeout(time, self.batches.recv()).await.ok()??);
        }
        self.ready.pop_front()
    }

    pub(crate) async fn next(&mut self) -> Given {
        self.within(BOUND).await.expect("a message comes in time")
    }

    pub(crate) async fn settle(&self, delivery: Given, how: Settlement) -> Result<(), Error> {
        let size = delivery.message.size();
        let settled = delivery.settler.settle(how).await;
        self.control.release([(delivery.partition, 1, size)]);
        settled
    }

    pub(crate) async fn ack(&self, delivery: Given) {
        self.settle(delivery, Settlement::Ack).await.unwrap();
    }

    /// Gives back what was not looked at, and leaves.
    pub(crate) async fn leave(mut self, grace: Duration) -> Result<(), Error> {
        self.control.stop();
        while let Some(batch) = self.batches.recv().await {
            self.ready.extend(batch);
        }
        self.ready.clear();
        let _ = self.close.send(Instant::now() + grace);
        self.pump.await.unwrap()
    }
}

pub(crate) fn body(delivery: &Given) -> String {
    String::from_utf8(delivery.message.payload().to_vec()).unwrap()
}

pub(crate) fn count(delivery: &Given) -> u32 {
    delivery.message.origin().unwrap().delivery_count
}

/// Waits for what must come.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < BOUND, "{what}: not in time");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
