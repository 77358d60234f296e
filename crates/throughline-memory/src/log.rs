//! The log of one partition: what was published, by offset, and the sends that wait for room in it.

use bytes::Bytes;
use std::{collections::VecDeque, time::SystemTime};
use throughline_core::{Headers, Message, Origin};

/// A published message: what a broker keeps of it. Extensions stay with the sender.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    payload: Option<Bytes>,
    key: Option<Bytes>,
    headers: Headers,
    time: SystemTime,
}

impl Record {
    /// What is kept of `message`; its own time goes before `now`.
    pub(crate) fn new(message: &Message, now: SystemTime) -> Self {
        Record {
            payload: message.payload_opt().cloned(),
            key: message.key().cloned(),
            headers: message.headers().clone(),
            time: message.time().unwrap_or(now),
        }
    }

    /// The message as it is delivered. `origin` gets the time.
    pub(crate) fn message(&self, mut origin: Origin) -> Message {
        origin.time = Some(self.time);
        Message::received(self.payload.clone(), self.key.clone(), self.headers.clone(), origin)
    }

    pub(crate) fn key(&self) -> Option<&Bytes> {
        self.key.as_ref()
    }

    /// Bytes of the payload.
    pub(crate) fn size(&self) -> usize {
        self.payload.as_ref().map_or(0, Bytes::len)
    }
}

/// An append-only log whose front is dropped once nobody needs it.
#[derive(Debug, Default)]
pub(crate) struct Log {
    records: VecDeque<Record>,
    /// The offset of the first record that is still there.
    start: i64,
    /// Sends that found the log full, in the order of their calls.
    waiting: VecDeque<(u64, Record)>,
}

impl Log {
    /// The offset of the oldest record that is still there.
    pub(crate) fn start(&self) -> i64 {
        self.start
    }

    /// The offset that the next record will get.
    pub(crate) fn end(&self) -> i64 {
        self.start + self.records.len() as i64
    }

    pub(crate) fn get(&self, offset: i64) -> Option<&Record> {
        usize::try_from(offset - self.start).ok().and_then(|at| self.records.get(at))
    }

    /// The offsets and records that are still there.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (i64, &Record)> {
        (self.start..).zip(&self.records)
    }

    /// The first offset of this time or later; the end if there is none.
    pub(crate) fn offset_at(&self, time: SystemTime) -> i64 {
        self.iter().find(|(_, record)| record.time >= time).map_or(self.end(), |(offset, _)| offset)
    }

    /// Whether a send must wait: there is no room, or others wait already and must not be overtaken.
    pub(crate) fn is_full(&self, capacity: usize) -> bool {
        !self.waiting.is_empty() || self.records.len() >= capacity
    }

    /// Whether sends wait for room.
    pub(crate) fn is_awaited(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Appends, and answers the offset.
    pub(crate) fn push(&mut self, record: Record) -> i64 {
        let offset = self.end();
        self.records.push_back(record);
        offset
    }

    /// Lets a send wait for room.
    pub(crate) fn wait(&mut self, ticket: u64, record: Record) {
        self.waiting.push_back((ticket, record));
    }

    /// Takes back a send that waits.
    pub(crate) fn cancel(&mut self, ticket: u64) {
        self.waiting.retain(|(n, _)| *n != ticket);
    }

    /// Appends one send that waited, if there is room for it now, and answers its ticket and offset.
    pub(crate) fn admit(&mut self, capacity: usize) -> Option<(u64, i64)> {
        if self.records.len() >= capacity {
            return None;
        }
        let (ticket, record) = self.waiting.pop_front()?;
        Some((ticket, self.push(record)))
    }

    /// Drops everything below this offset.
    pub(crate) fn trim(&mut self, below: i64) {
        let count = usize::try_from(below - self.start).unwrap_or(0).min(self.records.len());
        self.records.drain(..count);
        self.start += count as i64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    fn at(seconds: u64) -> Record {
        Record::new(&Message::new("x"), UNIX_EPOCH + Duration::from_secs(seconds))
    }

    #[test]
    fn offsets_survive_what_is_dropped_from_the_front() {
        let mut log = Log::default();
        assert_eq!((log.push(at(1)), log.push(at(2)), log.push(at(3))), (0, 1, 2));
        log.trim(2);
        assert_eq!((log.start(), log.end(), log.get(1).is_none(), log.get(2).is_some()), (2, 3, true, true));
        log.trim(1);
        log.trim(100);
        assert_eq!((log.start(), log.end(), log.push(at(4))), (3, 3, 3));
    }

    #[test]
    fn a_time_finds_the_first_record_of_it_or_later() {
        let mut log = Log::default();
        for s in [10, 20, 30] {
            log.push(at(s));
        }
        let found = [5, 20, 25, 31].map(|s| log.offset_at(UNIX_EPOCH + Duration::from_secs(s)));
        assert_eq!(found, [0, 1, 2, 3]);
    }

    #[test]
    fn sends_that_wait_keep_their_order() {
        let mut log = Log::default();
        log.push(at(1));
        assert!(log.is_full(1) && log.admit(1).is_none());
        for ticket in [7, 8, 9] {
            log.wait(ticket, at(2));
        }
        log.cancel(8);
        log.trim(1);
        assert!(log.is_full(1), "nobody overtakes those who wait");
        assert_eq!((log.admit(1), log.admit(1)), (Some((7, 1)), None));
        log.trim(2);
        assert_eq!((log.admit(1), log.is_awaited()), (Some((9, 2)), false));
    }
}
