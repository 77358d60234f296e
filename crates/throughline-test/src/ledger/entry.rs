//! One line of a ledger.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Ev {
    /// A publish was acknowledged by the broker. Write it after the acknowledgement.
    Produced,
    /// A message was handed to the worker.
    Delivered,
    /// A handler began.
    Started,
    /// A handler was done and is about to answer with an ack. Write it before the answer.
    Finished,
    /// A handler is about to answer with anything else, or was cancelled.
    Failed,
    /// A delivery was acknowledged.
    Acked,
    /// The committed offset of a partition was moved: `offset` is the next one to be delivered.
    Committed,
    /// The dead-letter destination accepted the message.
    Parked,
    /// The process `victim` was killed. Write it when it is gone and before its successor starts.
    Killed,
    /// Anything else that a reader of the file may want to know.
    #[serde(other)]
    Note,
}

/// One line of a ledger. Lines of kinds that the checker does not know are passed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Entry<'a> {
    /// When, in nanoseconds since 1970; 0 is replaced by the time of writing.
    pub t: u64,
    /// In which process.
    pub pid: u32,
    /// What.
    pub ev: Ev,
    /// The id of the message: the producer's own number for it, in its payload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// Its key.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Cow<'a, str>>,
    /// The topic, where a run has several.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<Cow<'a, str>>,
    /// The partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<i32>,
    /// The offset in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<i64>,
    /// The process that a `killed` line speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub victim: Option<u32>,
}

impl<'a> Entry<'a> {
    /// Something that happened to a message.
    pub fn new(ev: Ev, id: u64) -> Self {
        Entry { id: Some(id), ..Entry::bare(ev) }
    }

    /// A commit: everything below `offset` is done.
    pub fn committed(partition: i32, offset: i64) -> Self {
        Entry { partition: Some(partition), offset: Some(offset), ..Entry::bare(Ev::Committed) }
    }

    /// The death of another process.
    pub fn killed(victim: u32) -> Self {
        Entry { victim: Some(victim), ..Entry::bare(Ev::Killed) }
    }

    fn bare(ev: Ev) -> Self {
        Entry {
            t: 0,
            pid: 0,
            ev,
            id: None,
            key: None,
            topic: None,
            partition: None,
            offset: None,
            victim: None,
        }
    }

    /// The key of the message.
    #[must_use]
    pub fn key(mut self, key: impl Into<Cow<'a, str>>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// The topic, where a run has several.
    #[must_use]
    pub fn topic(mut self, topic: impl Into<Cow<'a, str>>) -> Self {
        self.topic = Some(topic.into());
        self
    }

    /// Where the message is.
    #[must_use]
    pub fn at(mut self, partition: i32, offset: i64) -> Self {
        self.partition = Some(partition);
        self.offset = Some(offset);
        self
    }

    /// When and in which process, for a ledger that is made by hand.
    #[must_use]
    pub fn by(mut self, t: u64, pid: u32) -> Self {
        self.t = t;
        self.pid = pid;
        self
    }

    /// The same, holding its own text.
    pub fn into_owned(self) -> Entry<'static> {
        let owned = |text: Option<Cow<'a, str>>| text.map(|text| Cow::Owned(text.into_owned()));
        let Entry { t, pid, ev, id, key, topic, partition, offset, victim } = self;
        Entry { t, pid, ev, id, key: owned(key), topic: owned(topic), partition, offset, victim }
    }
}
