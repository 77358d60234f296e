//! A source with the worker's side of it, driven by hand.

use super::{Broker, Start};
use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use throughline_core::{
    Capacity, Delivery, Demand, DemandControl, Error, Event, Message, Observe, PartitionIndex, Receipt,
    Settlement, Settler, Source, Subscription,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::timeout,
};
use tower_service::Service;

type SettlerOf<B> = <<<B as Broker>::Subscription as Subscription>::Source as Source>::Settler;
pub(super) type Given<B> = Delivery<SettlerOf<B>>;

/// A member of a group.
///
/// The source is driven by a task, since its `receive` must never be dropped half-way: what a case waits for is the
/// task's channel. As in a worker, what was handed over counts against the demand until it is settled or dropped.
pub(super) struct Member<B: Broker> {
    control: DemandControl,
    batches: mpsc::UnboundedReceiver<Vec<Given<B>>>,
    /// Handed over, and not looked at by the case yet.
    ready: VecDeque<Given<B>>,
    close: oneshot::Sender<Instant>,
    pump: JoinSet<Result<(), Error>>,
    pub(super) seen: Arc<Seen>,
    patience: Duration,
    silence: Duration,
}

/// What the adapter reported.
#[derive(Debug, Default)]
pub(super) struct Seen(Mutex<Vec<(i32, i64)>>);

impl Observe for Seen {
    fn observe(&self, event: Event<'_>) {
        if let Event::Committed { partition, offset, .. } = event {
            self.0.lock().unwrap().push((partition, offset));
        }
    }
}

impl Seen {
    /// Every commit, as partition and offset.
    pub(super) fn commits(&self) -> Vec<(i32, i64)> {
        self.0.lock().unwrap().clone()
    }
}

impl<B: Broker> Member<B> {
    /// Joins with room for plenty.
    pub(super) async fn join(broker: &B, topic: &str, group: &str) -> Self {
        Member::with(broker, topic, group, Start::Earliest, 10_000).await
    }

    pub(super) async fn with(broker: &B, topic: &str, group: &str, start: Start, room: usize) -> Self {
        let (control, demand) = Demand::new(Capacity { messages: room, bytes: usize::MAX });
        let seen = Arc::<Seen>::default();
        let subscribe =
            async { broker.subscription(topic, group, start).subscribe(demand, seen.clone()).await };
        let source = timeout(broker.patience(), subscribe)
            .await
            .unwrap_or_else(|_| panic!("`{group}` could not subscribe to `{topic}` in time"))
            .unwrap_or_else(|error| panic!("`{group}` could not subscribe to `{topic}`: {error}"));
        let (to_case, batches) = mpsc::unbounded_channel();
        let (close, closed) = oneshot::channel();
        let mut pump = JoinSet::new();
        pump.spawn(pump_of(source, control.clone(), to_case, closed));
        let (patience, silence) = (broker.patience(), broker.silence());
        Member { control, batches, ready: VecDeque::new(), close, pump, seen, patience, silence }
    }

    pub(super) fn control(&self) -> &DemandControl {
        &self.control
    }

    /// The next delivery.
    pub(super) async fn next(&mut self) -> Given<B> {
        loop {
            if let Some(delivery) = self.ready.pop_front() {
                return delivery;
            }
            match timeout(self.patience, self.batches.recv()).await {
                Ok(Some(batch)) => self.ready.extend(batch),
                Ok(None) => panic!("the source ended: {:?}", self.pump.join_next().await),
                Err(_) => panic!("no message came within {:?}", self.patience),
            }
        }
    }

    /// The next deliveries.
    pub(super) async fn take(&mut self, count: usize) -> Vec<Given<B>> {
        let mut taken = Vec::with_capacity(count);
        while taken.len() < count {
            taken.push(self.next().await);
        }
        taken
    }

    /// Whatever comes until there is silence.
    pub(super) async fn rest(&mut self) -> Vec<Given<B>> {
        let mut rest = Vec::from(std::mem::take(&mut self.ready));
        while let Ok(Some(batch)) = timeout(self.silence, self.batches.recv()).await {
            rest.extend(batch);
        }
        rest
    }

    /// Answers, and gives the room back.
    pub(super) async fn settle(&self, delivery: Given<B>, how: Settlement) {
        let room = (delivery.partition, 1, delivery.message.size());
        let answer = timeout(self.patience, delivery.settler.settle(how)).await;
        self.control.release([room]);
        answer
            .unwrap_or_else(|_| panic!("the answer `{}` was not taken in time", how.as_str()))
            .unwrap_or_else(|error| panic!("the answer `{}` was refused: {error}", how.as_str()));
    }

    pub(super) async fn ack(&self, delivery: Given<B>) {
        self.settle(delivery, Settlement::Ack).await;
    }

    pub(super) async fn ack_all(&self, deliveries: Vec<Given<B>>) {
        for delivery in deliveries {
            self.ack(delivery).await;
        }
    }

    /// Drops without an answer, and gives the room back.
    pub(super) fn give_back(&self, deliveries: Vec<Given<B>>) {
        for delivery in deliveries {
            let room = (delivery.partition, 1, delivery.message.size());
            drop(delivery);
            self.control.release([room]);
        }
    }

    /// Stops, gives back what the case has not seen, and leaves. What the case holds it must have settled before.
    pub(super) async fn leave(mut self) {
        self.control.stop();
        let patience = self.patience;
        let end = async {
            while let Some(batch) = self.batches.recv().await {
                self.ready.extend(batch);
            }
        };
        timeout(patience, end).await.expect("a stopping source answers with nothing more, in time");
        self.give_back_ready();
        let _ = self.close.send(Instant::now() + patience);
        let ended = timeout(patience * 2, self.pump.join_next()).await.expect("the source closes in time");
        ended
            .expect("the pump")
            .expect("the pump did not panic")
            .expect("the source closes without an error");
    }

    fn give_back_ready(&mut self) {
        let ready = Vec::from(std::mem::take(&mut self.ready));
        self.give_back(ready);
    }
}

/// Receives until the source says that nothing more comes, then closes it when told.
async fn pump_of<S: Source>(
    mut source: S,
    control: DemandControl,
    batches: mpsc::UnboundedSender<Vec<Delivery<S::Settler>>>,
    closed: oneshot::Receiver<Instant>,
) -> Result<(), Error> {
    loop {
        let batch = source.receive().await?;
        if batch.is_empty() {
            break;
        }
        for delivery in &batch {
            control.take(delivery.partition, 1, delivery.message.size());
        }
        if batches.send(batch).is_err() {
            break;
        }
    }
    drop(batches);
    // A case that failed drops its end: then nobody waits for the close either.
    match closed.await {
        Ok(deadline) => source.close(deadline).await,
        Err(_) => Ok(()),
    }
}

/// Sends, as a publisher does.
pub(super) async fn try_send<S>(sink: &mut S, message: Message) -> Result<Receipt, Error>
where
    S: Service<Message, Response = Receipt, Error = Error>,
{
    poll_fn(|cx| sink.poll_ready(cx)).await?;
    sink.call(message).await
}

/// Sends what must arrive.
pub(super) async fn send<B: Broker>(broker: &B, sink: &mut B::Sink, message: Message) -> Receipt {
    timeout(broker.patience(), try_send(sink, message))
        .await
        .expect("the broker acknowledges a send in time")
        .unwrap_or_else(|error| panic!("the send failed: {error}"))
}

/// A topic with this many partitions, nothing in it.
pub(super) async fn topic<B: Broker>(broker: &B, partitions: u32) -> String {
    let name = broker.fresh_name("topic");
    let made = timeout(broker.patience(), broker.create_topic(&name, partitions)).await;
    made.expect("a topic is made in time").unwrap_or_else(|error| panic!("topic `{name}`: {error}"));
    name
}

/// The payload as text.
pub(super) fn text<Z>(delivery: &Delivery<Z>) -> String {
    String::from_utf8_lossy(delivery.message.payload()).into_owned()
}

/// The payloads as text.
pub(super) fn texts<Z>(deliveries: &[Delivery<Z>]) -> Vec<String> {
    deliveries.iter().map(text).collect()
}

/// The partition that the broker named, and the adapter's own number for it.
pub(super) fn partition<Z>(delivery: &Delivery<Z>) -> (Option<i32>, PartitionIndex) {
    (delivery.message.origin().and_then(|origin| origin.partition), delivery.partition)
}
