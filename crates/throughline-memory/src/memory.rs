//! The handle of a broker.

use crate::{
    broker::{Broker, Counters},
    config::Topics,
    fault::{At, Fault},
    shared::Shared,
    sink::MemorySink,
    subscription::MemorySubscription,
};
use std::{fmt, future::poll_fn, sync::Arc, task::Poll, time::SystemTime};
use throughline_core::{Error, Message, Origin};

/// A message broker inside this process. Clones are handles of the same broker; two brokers know nothing of each other.
///
/// It is shaped like Kafka: a topic is a number of partitions, a partition an append-only log; the key chooses the
/// partition as Kafka's Java client does; the members of a group share the partitions, each of which goes to one of
/// them at a time; a group commits the contiguous prefix that it has done, and whoever gets the partition next begins
/// there. So whatever was done out of order beyond an open message comes again after a restart or a rebalance.
///
/// Nothing is written to disk: what it holds ends with the process.
///
/// ```
/// use throughline_core::Message;
/// use throughline_memory::Memory;
/// use tower_service::Service;
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let broker = Memory::new();
/// broker.create_topic("orders", 4)?;
/// let receipt = broker.topic("orders").call(Message::new("a book").with_key("customer-7")).await?;
/// assert_eq!(receipt.offset, Some(0));
/// assert_eq!(broker.records("orders")[0].payload().as_ref(), b"a book");
/// # Ok::<(), throughline_core::Error>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Memory(Arc<Shared>);

impl Memory {
    /// A broker without topics.
    pub fn new() -> Self {
        Memory(Arc::new(Shared::new()))
    }

    /// How many messages a partition holds before a send to it waits; 1,048,576 if not said. A message leaves the log
    /// when every group that ever subscribed to the topic has done it and all before it.
    pub fn capacity(self, messages: usize) -> Self {
        self.0.with(|broker, _| broker.settings.capacity = messages.max(1));
        self
    }

    /// Keeps what every group has done, for those who come later. A full partition then stays full.
    pub fn retain(self, keep: bool) -> Self {
        self.0.with(|broker, _| broker.settings.retain = keep);
        self
    }

    /// Makes a topic with this many partitions when a send or a subscription first names it; if not said, that is an
    /// error.
    pub fn auto_create(self, partitions: u32) -> Self {
        self.0.with(|broker, _| broker.settings.auto_create = Some(partitions));
        self
    }

    /// Makes a topic. It may exist already with as many partitions.
    ///
    /// # Errors
    /// [`Config`](throughline_core::ErrorKind::Config) if it exists with another number of partitions, or for 0.
    pub fn create_topic(&self, name: &str, partitions: u32) -> Result<(), Error> {
        self.0.with(|broker, _| broker.create_topic(name, partitions).map(drop))
    }

    /// A sink for this topic. Whether the topic exists is seen at each send.
    pub fn topic(&self, name: impl Into<String>) -> MemorySink {
        MemorySink::new(self.0.clone(), name.into())
    }

    /// A subscription to this topic or these topics.
    pub fn subscribe(&self, topics: impl Topics) -> MemorySubscription {
        MemorySubscription::new(self.0.clone(), topics.names())
    }

    /// The next offset that would be delivered to this group after a restart; 0 if the group or the partition is
    /// unknown.
    pub fn committed(&self, topic: &str, group: &str, partition: i32) -> i64 {
        self.0.with(|broker, _| {
            let group = broker.group_ids.get(group).map(|id| &broker.groups[*id]);
            let part = group.zip(broker.find(topic)).and_then(|(group, topic)| {
                group.part(topic, usize::try_from(partition).ok()?).filter(|part| part.topic == topic)
            });
            part.map_or(0, |part| part.progress.committed())
        })
    }

    /// The offset that the next message in this partition gets; 0 if there is no such partition.
    pub fn end(&self, topic: &str, partition: i32) -> i64 {
        self.0.with(|broker, _| {
            let topic = broker.find(topic).map(|id| &broker.topics[id]);
            let at = usize::try_from(partition).ok();
            topic.zip(at).and_then(|(topic, at)| topic.logs.get(at)).map_or(0, |log| log.end())
        })
    }

    /// How many messages of this topic the group has not done, in all partitions. For a group that never subscribed:
    /// all that are there.
    pub fn lag(&self, topic: &str, group: &str) -> i64 {
        self.0.with(|broker, _| broker.find(topic).map_or(0, |topic| broker.lag(topic, group)))
    }

    /// Resolves when this group has done everything that this topic holds at that moment: [`lag`](Self::lag) is 0.
    ///
    /// # Cancel safety
    /// Dropping it forgets the wait and nothing else.
    pub async fn caught_up(&self, topic: &str, group: &str) {
        let watch = Watch { shared: &self.0, id: self.0.with(|broker, _| broker.next_id()) };
        poll_fn(|cx| {
            watch.shared.with(|broker, _| {
                let lag = broker.find(topic).map_or(0, |topic| broker.lag(topic, group));
                if lag == 0 {
                    return Poll::Ready(());
                }
                broker.watchers.wait(watch.id, cx.waker());
                Poll::Pending
            })
        })
        .await
    }

    /// What a topic holds now, by partition and offset; nothing for an unknown one. What every group has done is not
    /// held any more, unless [`retain`](Self::retain) says so.
    pub fn records(&self, topic: &str) -> Vec<Message> {
        self.0.with(|broker, _| {
            let Some(id) = broker.find(topic) else { return Vec::new() };
            let destination = Broker::destination(topic);
            let mut records = Vec::new();
            for (partition, log) in broker.topics[id].logs.iter().enumerate() {
                let done = broker.done_below(id, partition);
                for (offset, record) in log.iter().filter(|(offset, _)| *offset >= done) {
                    let mut origin = Origin::new(destination.clone());
                    (origin.partition, origin.offset) = (Some(partition as i32), Some(offset));
                    records.push(record.message(origin));
                }
            }
            records
        })
    }

    /// What happened so far, on all topics.
    pub fn counters(&self) -> Counters {
        self.0.with(|broker, _| broker.counters)
    }

    /// Lets the next calls at this place fail, for tests of what is built on the broker. Faults strike in the order in
    /// which they were added.
    ///
    /// ```
    /// use throughline_core::{Error, ErrorKind};
    /// use throughline_memory::{At, Fault, Memory};
    ///
    /// let broker = Memory::new();
    /// let down = Error::new(ErrorKind::Unreachable, "memory", "");
    /// broker.fail(At::Subscribe, Fault::error(down).times(3));
    /// broker.fail(At::Receive, Fault::panic());
    /// broker.fail(At::Send, Fault::hold().topic("orders.dead"));
    /// broker.release();
    /// ```
    pub fn fail(&self, at: At, fault: Fault) {
        self.0.with(|broker, fx| {
            broker.faults.add(at, fault);
            if at == At::Receive {
                broker.groups.iter_mut().flat_map(|group| &mut group.members).for_each(|m| m.notify(fx));
            }
        });
    }

    /// Lets the sends go on that [`Fault::hold`] holds, in the order of their calls.
    pub fn release(&self) {
        self.0.with(|broker, fx| broker.release(SystemTime::now(), fx));
    }
}

impl Default for Memory {
    fn default() -> Self {
        Memory::new()
    }
}

/// Forgets a waiter that gives up.
struct Watch<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.shared.with(|broker, _| broker.watchers.forget(self.id));
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let topics: Vec<String> =
            self.0.with(|broker, _| broker.topics.iter().map(|topic| topic.name.clone()).collect());
        f.debug_struct("Memory").field("topics", &topics).finish()
    }
}
