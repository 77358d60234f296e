//! What the client tells of itself at an interval: how far each partition is behind, where its log truly ends, and
//! whether the group can be reached.
//!
//! The end of a log may lie behind transaction markers or what was compacted away: no record will ever say so, and the
//! commit would rest below it for good. Only the statistics know, but they run ahead of records that are still queued.
//! So an end counts if two of them in a row show it with nothing queued, nothing is open, and nothing was read, paused
//! or moved in between.

use crate::consume::{poll::Poller, slots::Slot};
use serde::Deserialize;
use std::collections::HashMap;
use throughline_core::Event;

/// As much of the client's JSON as is needed; the rest is skipped while it is read.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Statistics {
    #[serde(default)]
    topics: HashMap<String, Topic>,
    cgrp: Option<Group>,
}

#[derive(Debug, Deserialize)]
struct Topic {
    #[serde(default)]
    partitions: HashMap<i32, Figures>,
}

#[derive(Debug, Deserialize)]
struct Group {
    state: String,
}

/// One partition in the client.
#[derive(Debug, Deserialize)]
struct Figures {
    fetch_state: String,
    /// Records and events that wait to be polled, of all partitions together.
    fetchq_cnt: i64,
    next_offset: i64,
    eof_offset: i64,
    hi_offset: i64,
    ls_offset: i64,
}

impl Statistics {
    pub(crate) fn parse(json: &[u8]) -> Option<Self> {
        match serde_json::from_slice(json) {
            Ok(statistics) => Some(statistics),
            Err(error) => {
                tracing::debug!(%error, "the client's statistics are not as expected");
                None
            }
        }
    }

    /// Whether the group's coordinator answers.
    pub(crate) fn connected(&self) -> bool {
        self.cgrp.as_ref().is_some_and(|group| group.state == "up")
    }
}

impl Figures {
    /// The offset that the log is read up to, if that is its end and nothing is on its way.
    fn resting(&self) -> Option<i64> {
        let rests =
            self.fetch_state == "active" && self.fetchq_cnt == 0 && self.next_offset == self.eof_offset;
        (rests && self.eof_offset >= 0).then_some(self.eof_offset)
    }

    /// Where what this consumer may see ends: open transactions hide what is behind them.
    fn visible_end(&self, read_committed: bool) -> i64 {
        if read_committed { self.ls_offset } else { self.hi_offset }
    }
}

impl Poller {
    pub(crate) fn on_statistics(&mut self, statistics: &Statistics) {
        if statistics.connected() {
            self.reconnected();
        }
        for (topic, figures) in &statistics.topics {
            for (number, figures) in &figures.partitions {
                if let Some(at) = self.find(topic, *number).filter(|at| self.slots[*at].assigned) {
                    self.on_figures(at, figures);
                }
            }
        }
    }

    fn on_figures(&mut self, at: usize, figures: &Figures) {
        let still = !self.all_paused && !self.failed && self.held.iter().all(|held| held.slot != at);
        let slot = &mut self.slots[at];
        let resting = figures.resting().filter(|_| still && slot.is_flowing());
        if let Some(end) = seen_twice(&mut slot.end, resting) {
            slot.partition.reach(end);
        }
        let end = figures.visible_end(self.plan.read_committed);
        if let Some(done) = slot.partition.lowest_open().filter(|_| end >= 0) {
            self.observer.observe(Event::Lag {
                destination: &slot.partition.destination,
                partition: slot.partition.number,
                messages: (end - done).max(0),
            });
        }
    }
}

/// Takes where a log now rests, and gives it if it rested there before: what the client had handed out when it counted may
/// reach us after its figures, and not after the next.
fn seen_twice(before: &mut Option<i64>, now: Option<i64>) -> Option<i64> {
    let same = *before == now;
    *before = now;
    now.filter(|_| same)
}

impl Slot {
    fn is_flowing(&self) -> bool {
        self.assigned && !self.revoking && !self.paused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AS_SENT: &str = r#"{ "name": "c", "ts": 5, "brokers": {"b": {"state": "UP", "toppars": {}}},
        "topics": { "t": { "topic": "t", "age": 1, "partitions": {
            "0": {"partition":0, "fetchq_cnt":0, "fetch_state":"active", "next_offset":7, "eof_offset":7,
                  "lo_offset":0, "hi_offset":9, "ls_offset":7, "consumer_lag":-1},
            "-1": {"partition":-1, "fetchq_cnt":0, "fetch_state":"none", "next_offset":-1001, "eof_offset":-1001,
                  "lo_offset":-1001, "hi_offset":-1001, "ls_offset":-1001, "consumer_lag":-1} } } },
        "cgrp": { "state": "up", "join_state": "steady" }, "tx": 1 }"#;

    #[test]
    fn what_is_needed_is_read_and_the_rest_skipped() {
        let statistics = Statistics::parse(AS_SENT.as_bytes()).unwrap();
        assert!(statistics.connected());
        let partition = &statistics.topics["t"].partitions[&0];
        assert_eq!(
            (partition.resting(), partition.visible_end(true), partition.visible_end(false)),
            (Some(7), 7, 9)
        );
        assert_eq!(statistics.topics["t"].partitions[&-1].resting(), None);
        assert!(Statistics::parse(b"{").is_none());
        assert!(!Statistics::parse(b"{}").unwrap().connected());
    }

    #[test]
    fn an_end_with_something_on_its_way_is_none() {
        let of = |from: &str, to: &str| {
            let statistics = Statistics::parse(AS_SENT.replace(from, to).as_bytes()).unwrap();
            statistics.topics["t"].partitions[&0].resting()
        };
        assert_eq!(of(r#""fetchq_cnt":0"#, r#""fetchq_cnt":1"#), None);
        assert_eq!(of(r#""next_offset":7"#, r#""next_offset":6"#), None);
        assert_eq!(of("active", "offset-wait"), None);
    }

    #[test]
    fn an_end_counts_once_it_is_seen_twice_in_a_row() {
        let mut before = None;
        let seen = [None, Some(7), None, Some(7), Some(8), Some(8), Some(8), None, Some(8)];
        let counts = seen.map(|now| seen_twice(&mut before, now));
        assert_eq!(counts, [None, None, None, None, None, Some(8), Some(8), None, None]);
    }
}
