//! Every commit of a group, as the broker keeps them: asking for the committed offset again and again would miss one that
//! went back for a moment.

use super::Cluster;
use crate::{Inbox, Site, steps::note};
use std::{collections::BTreeMap, future::ready, time::SystemTime};
use throughline::{Message, Runtime, Telemetry, Worker, handler_with};
use throughline_test::conformance::Broker;

/// One commit of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The partition.
    pub partition: i32,
    /// The next offset to be delivered.
    pub offset: i64,
    /// When the broker took it, in milliseconds since 1970.
    pub millis: u64,
}

/// What the group committed so far, in the order in which the broker took it. Nobody may be committing meanwhile.
pub async fn commits(cluster: &Cluster, group: &str, topic: &str) -> Vec<Commit> {
    let last = cluster.committed(topic, group).await;
    let mut seen = BTreeMap::new();
    let mut commits = Vec::new();
    let (told, mut inbox) = Inbox::new();
    let reader = cluster.fresh_name("reader");
    let internal =
        cluster.subscription("__consumer_offsets", &reader, throughline_test::conformance::Start::Earliest);
    let mut runtime = Runtime::new(Telemetry::off()).unwrap();
    runtime.spawn(
        Worker::new("commits", internal, move || handler_with(told.clone(), note))
            .ordering(throughline::Ordering::Partition),
    );
    while seen != last {
        let Some(commit) = parse(&inbox.next().await, group, topic) else { continue };
        seen.insert(commit.partition, commit.offset);
        commits.push(commit);
    }
    runtime.until(ready(())).await.unwrap();
    commits
}

/// Kafka's `OffsetCommitKey` (versions 0 and 1: group, topic, partition) and the beginning of its `OffsetCommitValue`.
fn parse(record: &Message, group: &str, topic: &str) -> Option<Commit> {
    let mut key = Fields(record.key()?);
    if key.take::<2>().map(i16::from_be_bytes)? > 1 || key.text()? != group || key.text()? != topic {
        return None;
    }
    let partition = i32::from_be_bytes(key.take()?);
    let mut value = Fields(record.payload_opt()?);
    value.take::<2>()?;
    let offset = i64::from_be_bytes(value.take()?);
    let time = record.origin()?.time?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(Commit { partition, offset, millis: u64::try_from(time.as_millis()).ok()? })
}

struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(i16::from_be_bytes(self.take()?)).ok()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }
}
