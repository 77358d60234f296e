//! Each case of the conformance suite fails for an adapter that is wrong in just what the case is about.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};
use throughline_core::{
    Capacity, Delivery, Demand, Destination, Endpoint, Error, Message, Observer, Receipt, Redelivery,
    Settlement, Settler, Source, Subscription,
};
use throughline_memory::{Memory, MemorySettler, MemorySink, MemorySource, MemorySubscription};
use throughline_test::conformance::{self, Broker, Features, Start, run};
use tower_service::Service;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Flaw {
    LosesOnSend,
    SendsTwice,
    MakesTopics,
    FlushesNothing,
    DropsNullHeaders,
    KeepsOneOfAHeader,
    FillsTombstones,
    WrongReceipt,
    TurnsBatchesRound,
    ForgetsAcks,
    AcksOnDrop,
    IgnoresDelay,
    NacksRejects,
    IgnoresDemand,
    OneIndex,
    OneGroup,
    AlwaysEarliest,
}

#[derive(Clone)]
struct Bad(Memory, Flaw);

impl Broker for Bad {
    type Subscription = BadSubscription;
    type Sink = BadSink;

    fn features(&self) -> Features {
        Features::ALL
    }

    async fn create_topic(&self, name: &str, partitions: u32) -> Result<(), Error> {
        self.0.create_topic(name, partitions)
    }

    fn subscription(&self, topic: &str, group: &str, start: Start) -> BadSubscription {
        let group = if self.1 == Flaw::OneGroup { "one" } else { group };
        let start = match start {
            Start::Latest if self.1 != Flaw::AlwaysEarliest => throughline_memory::Start::Latest,
            _ => throughline_memory::Start::Earliest,
        };
        BadSubscription(self.0.subscribe(topic).group(group).start(start), self.1)
    }

    fn sink(&self, topic: &str) -> BadSink {
        BadSink(self.0.topic(topic), self.1)
    }

    fn patience(&self) -> Duration {
        Duration::from_millis(1500)
    }

    fn silence(&self) -> Duration {
        Duration::from_millis(200)
    }
}

#[derive(Clone)]
struct BadSink(MemorySink, Flaw);

impl Service<Message> for BadSink {
    type Response = Receipt;
    type Error = Error;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Receipt, Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut message: Message) -> Self::Future {
        match self.1 {
            Flaw::LosesOnSend if message.payload().ends_with(b"7") => {
                return Box::pin(async { Ok(Receipt::default()) });
            }
            Flaw::SendsTwice => drop(self.0.call(message.clone())),
            Flaw::DropsNullHeaders => message.headers_mut().retain(|header| header.value.is_some()),
            Flaw::KeepsOneOfAHeader => {
                let mut seen = Vec::new();
                message.headers_mut().retain(|header| {
                    let new = !seen.contains(&header.name);
                    seen.push(header.name.clone());
                    new
                });
            }
            Flaw::FillsTombstones if message.is_tombstone() => {
                let headers = message.headers().clone();
                message = Message::new("").with_key(message.key().cloned().unwrap_or_default());
                *message.headers_mut() = headers;
            }
            _ => {}
        }
        let (answer, flaw) = (self.0.call(message), self.1);
        Box::pin(async move {
            let mut receipt = answer.await?;
            if flaw == Flaw::WrongReceipt {
                receipt.offset = receipt.offset.map(|offset| offset + 1);
            }
            if flaw == Flaw::FlushesNothing {
                tokio::time::sleep(Duration::from_millis(600)).await;
            }
            Ok(receipt)
        })
    }
}

impl Endpoint for BadSink {
    fn destination(&self) -> Arc<Destination> {
        self.0.destination()
    }
}

struct BadSubscription(MemorySubscription, Flaw);

impl Subscription for BadSubscription {
    type Source = BadSource;

    async fn subscribe(&self, demand: Demand, observer: Observer) -> Result<BadSource, Error> {
        let demand = match self.1 {
            Flaw::IgnoresDemand => Demand::new(Capacity { messages: 1000, bytes: usize::MAX }).1,
            _ => demand,
        };
        Ok(BadSource(self.0.subscribe(demand, observer).await?, self.1))
    }

    fn redelivery(&self) -> Redelivery {
        // So that the cases about delay are not left to the worker.
        Redelivery::Broker
    }

    fn capacity(&self, in_flight: usize) -> Capacity {
        self.0.capacity(in_flight)
    }
}

struct BadSource(MemorySource, Flaw);

impl Source for BadSource {
    type Settler = BadSettler;

    async fn receive(&mut self) -> Result<Vec<Delivery<BadSettler>>, Error> {
        let flaw = self.1;
        let mut batch: Vec<_> = self.0.receive().await?;
        if flaw == Flaw::TurnsBatchesRound {
            batch.reverse();
        }
        let bad = |delivery: Delivery<MemorySettler>| Delivery {
            message: delivery.message,
            settler: BadSettler(Some(delivery.settler), flaw),
            lease: delivery.lease,
            partition: match flaw {
                Flaw::OneIndex => Default::default(),
                _ => delivery.partition,
            },
        };
        Ok(batch.into_iter().map(bad).collect())
    }

    async fn close(self, deadline: Instant) -> Result<(), Error> {
        self.0.close(deadline).await
    }
}

struct BadSettler(Option<MemorySettler>, Flaw);

impl Settler for BadSettler {
    async fn settle(mut self, how: Settlement) -> Result<(), Error> {
        let Some(inner) = self.0.take() else { return Ok(()) };
        match (self.1, how) {
            (Flaw::ForgetsAcks, Settlement::Ack) => Ok(()),
            (Flaw::IgnoresDelay, Settlement::Nack { .. }) => inner.settle(Settlement::nack()).await,
            (Flaw::NacksRejects, Settlement::Reject) => inner.settle(Settlement::nack()).await,
            _ => inner.settle(how).await,
        }
    }
}

impl Drop for BadSettler {
    fn drop(&mut self) {
        if let (Some(inner), Flaw::AcksOnDrop) = (self.0.take(), self.1) {
            // The memory broker takes it in the call, before the future is polled.
            drop(inner.settle(Settlement::Ack));
        }
    }
}

/// Fails unless each case fails for its flaw.
macro_rules! noticed {
    ($($test:ident: $flaw:ident => $($case:ident),+;)*) => {
        $(
            #[test]
            fn $test() {
                $(
                    let memory = Memory::new().retain(true);
                    let memory = if Flaw::$flaw == Flaw::MakesTopics { memory.auto_create(1) } else { memory };
                    let bad = Bad(memory, Flaw::$flaw);
                    let case = AssertUnwindSafe(|| run(async { conformance::$case(&bad).await }));
                    assert!(
                        catch_unwind(case).is_err(),
                        concat!("`", stringify!($case), "` passed an adapter with `", stringify!($flaw), "`")
                    );
                )+
            }
        )*
    };
}

noticed! {
    a_lost_message: LosesOnSend => everything_that_was_published_arrives_once;
    a_doubled_message: SendsTwice => everything_that_was_published_arrives_once;
    a_topic_made_by_accident: MakesTopics => an_unknown_topic_is_not_found;
    a_flush_that_does_nothing: FlushesNothing => flush_leaves_nothing_behind;
    a_null_header_that_is_dropped: DropsNullHeaders => content_comes_back_byte_for_byte;
    a_duplicate_header_that_is_dropped: KeepsOneOfAHeader => content_comes_back_byte_for_byte;
    a_tombstone_that_becomes_empty: FillsTombstones => content_comes_back_byte_for_byte;
    a_receipt_of_another_message: WrongReceipt => origin_and_receipt_agree;
    a_batch_the_wrong_way_round: TurnsBatchesRound => a_partition_keeps_its_order, a_key_keeps_its_order;
    an_ack_that_goes_nowhere: ForgetsAcks => acknowledged_messages_do_not_come_again;
    a_drop_that_acknowledges: AcksOnDrop => unsettled_messages_come_again, only_the_done_prefix_is_committed;
    a_delay_that_is_ignored: IgnoresDelay => a_nacked_message_comes_again_after_its_delay;
    a_reject_that_comes_again: NacksRejects => a_rejected_message_does_not_come_again;
    a_demand_that_is_ignored: IgnoresDemand => no_more_is_handed_over_than_there_is_room_for,
        a_blocked_partition_is_held_back_alone, a_paused_worker_gets_nothing_and_resumes,
        stopping_ends_the_source;
    a_partition_that_is_not_told_apart: OneIndex => a_partition_keeps_its_order;
    a_group_for_all: OneGroup => groups_do_not_take_from_each_other;
    a_start_that_is_ignored: AlwaysEarliest => a_group_begins_where_it_is_told;
}
