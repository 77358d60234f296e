//! What is done is committed from here, one request at a time.

use crate::{
    client::errors,
    consume::{asking::Ask, poll::Poller, topic_ids},
};
use rdkafka::{Offset, TopicPartitionList, error::KafkaError, types::RDKafkaErrorCode as Code};
use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};
use throughline_core::{Error, ErrorKind, Event, Settled, Settlement};

/// Committed sooner than by the interval after this many messages, but not more often than this.
const COMMIT_AFTER: usize = 10_000;
const COMMIT_GAP: Duration = Duration::from_millis(100);

/// A commit that the broker has not answered.
pub(crate) struct Outstanding {
    since: Instant,
    parts: Vec<Part>,
}

struct Part {
    slot: usize,
    generation: u64,
    offset: i64,
    count: usize,
}

impl Poller {
    /// Commits the contiguous prefixes if it is time.
    pub(crate) fn commit_if_due(&mut self) {
        if self.slots.iter().any(|slot| slot.partition.is_misused()) {
            let remedy = "messages were acknowledged outside of a transaction: put the `TransactionLayer` around the \
                          stack of a worker of batches";
            return self.fail(Error::new(ErrorKind::Config, &*self.plan.group, remedy));
        }
        let (done, since) = (self.progress.load(Ordering::Relaxed), self.last_commit.elapsed());
        let due = since >= self.plan.commit_interval || (done >= COMMIT_AFTER && since >= COMMIT_GAP);
        // What is done while the worker drains is committed when it closes, after its publishers were flushed: one that
        // fails belongs to some of it.
        if !due || self.outstanding.is_some() || self.demand.stopping() {
            return;
        }
        self.last_commit = Instant::now();
        self.progress.store(0, Ordering::Relaxed);
        let mut parts = Vec::new();
        for (at, slot) in self.slots.iter().enumerate() {
            if slot.assigned
                && let Some((offset, count)) = slot.partition.progress_above(slot.requested)
            {
                parts.push((at, offset, count));
            }
        }
        if !parts.is_empty() {
            self.commit(parts);
        }
    }

    /// Asks for these offsets to be committed, each with the number of messages that were completed since the last.
    pub(crate) fn commit(&mut self, parts: Vec<(usize, i64, usize)>) {
        let mut list = TopicPartitionList::new();
        let mut asked = Vec::with_capacity(parts.len());
        for (at, offset, count) in parts {
            let slot = &mut self.slots[at];
            let place = (slot.partition.topic(), slot.partition.number);
            if topic_ids::add(&mut list, place, Offset::Offset(offset), slot.mark.as_ref()).is_err() {
                continue;
            }
            slot.requested = offset;
            asked.push(Part { slot: at, generation: slot.partition.generation(), offset, count });
        }
        self.outstanding = Some(Outstanding { since: Instant::now(), parts: asked });
        if self.plan.transactions.is_some() {
            // A transaction has committed it: it is only told.
            self.on_committed(Ok(()));
        } else if self.asking.send(Ask::Commit(list)).is_err() {
            self.on_committed(Err(Code::Fail));
        }
    }

    /// The broker has answered.
    pub(crate) fn on_committed(&mut self, result: Result<(), Code>) {
        let Some(outstanding) = self.outstanding.take() else { return };
        let duration = outstanding.since.elapsed();
        if let Err(code) = result
            && errors::ends_source(code)
        {
            // The client's heartbeats do not tell a static member that another took its place: only this does.
            self.commits_refused = true;
            self.fail(errors::from_client(KafkaError::ConsumerCommit(code), &self.plan.group));
        }
        for part in outstanding.parts {
            let slot = &mut self.slots[part.slot];
            let partition = slot.partition.clone();
            let (destination, number) = (&partition.destination, partition.number);
            let current = partition.generation() == part.generation;
            let error = match result {
                Ok(()) => {
                    if current {
                        slot.committed = slot.committed.max(part.offset);
                    }
                    let offset = part.offset;
                    self.observer.observe(Event::Committed { destination, partition: number, offset });
                    None
                }
                Err(code) => {
                    if current {
                        // Asked for again with the next interval: a commit that did not happen only means that
                        // messages come again.
                        slot.requested = slot.committed;
                    }
                    let resource = format!("{}/{number}", partition.topic());
                    Some(errors::from_client(KafkaError::ConsumerCommit(code), &resource))
                }
            };
            let answer = error.as_ref().map_or(Ok(()), Err);
            // Passing the end of a log settles nothing, and a transaction told of its commit itself.
            if self.plan.transactions.is_none() && (part.count > 0 || answer.is_err()) {
                let settled = Settled::new(destination, part.count, Settlement::Ack, answer, duration);
                self.observer.observe(Event::Settled(settled));
            }
        }
    }
}
