//! What is done is committed from here, asynchronously and one request at a time.
//!
//! The client's synchronous commit waits without bound, so that even a commit that must be confirmed is an asynchronous
//! one, with polling until its callback or our deadline.

use crate::{context::Committed, errors, poll::Poller};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{CommitMode, Consumer},
    error::KafkaError,
    types::RDKafkaErrorCode as Code,
};
use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};
use throughline_core::{Event, Settled, Settlement};

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
        let (done, since) = (self.progress.load(Ordering::Relaxed), self.last_commit.elapsed());
        let due = since >= self.plan.commit_interval || (done >= COMMIT_AFTER && since >= COMMIT_GAP);
        if !due || self.outstanding.is_some() {
            return;
        }
        self.last_commit = Instant::now();
        self.progress.store(0, Ordering::Relaxed);
        let mut parts = Vec::new();
        for (at, slot) in self.slots.iter().enumerate() {
            if slot.assigned
                && slot.requested >= 0
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
            if list
                .add_partition_offset(slot.partition.topic(), slot.partition.number, Offset::Offset(offset))
                .is_err()
            {
                continue;
            }
            slot.requested = offset;
            asked.push(Part { slot: at, generation: slot.partition.generation(), offset, count });
        }
        let outstanding = Outstanding { since: Instant::now(), parts: asked };
        match self.consumer.commit(&list, CommitMode::Async) {
            Ok(()) => self.outstanding = Some(outstanding),
            Err(error) => {
                let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
                self.answered(outstanding, |_, _, _| Err(code));
            }
        }
    }

    /// The broker has answered.
    pub(crate) fn on_committed(&mut self, answers: Vec<Committed>) {
        let Some(outstanding) = self.outstanding.take() else { return };
        self.answered(outstanding, |topic, partition, offset| {
            let place = (topic, partition, offset);
            let is_it = |answer: &&Committed| (&*answer.topic, answer.partition, answer.offset) == place;
            answers.iter().find(is_it).map_or(Err(Code::Unknown), |answer| answer.result)
        });
    }

    fn answered(&mut self, outstanding: Outstanding, result: impl Fn(&str, i32, i64) -> Result<(), Code>) {
        let duration = outstanding.since.elapsed();
        for part in outstanding.parts {
            let slot = &mut self.slots[part.slot];
            let partition = slot.partition.clone();
            let (destination, number) = (&partition.destination, partition.number);
            let current = partition.generation() == part.generation;
            let error = match result(partition.topic(), number, part.offset) {
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
            let result = error.as_ref().map_or(Ok(()), Err);
            let settled = Settled::new(destination, part.count, Settlement::Ack, result, duration);
            self.observer.observe(Event::Settled(settled));
        }
    }
}
