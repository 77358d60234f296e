//! A model run: members publish, receive, answer, drop, join, leave and crash in any order.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test may panic and has tasks of its own"
)]

mod common;

use common::*;
use futures_util::future::FutureExt;
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use throughline_core::{Message, Settlement, Settler, Source};
use throughline_memory::Memory;

const PARTITIONS: i32 = 3;
const KEYS: [&str; 4] = ["", "a", "b", "c"];

#[derive(Clone, Debug)]
enum Step {
    Publish { key: usize, partition: i32 },
    Receive { member: usize },
    Ack { at: usize },
    Nack { at: usize, millis: u64 },
    Drop { at: usize },
    Advance { millis: u64 },
    Join,
    Close { member: usize },
    Crash { member: usize },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..KEYS.len(), 0..PARTITIONS).prop_map(|(key, partition)| Step::Publish { key, partition }),
        6 => (0..4_usize).prop_map(|member| Step::Receive { member }),
        6 => any::<usize>().prop_map(|at| Step::Ack { at }),
        2 => (any::<usize>(), 0..30_u64).prop_map(|(at, millis)| Step::Nack { at, millis }),
        1 => any::<usize>().prop_map(|at| Step::Drop { at }),
        1 => (1..20_u64).prop_map(|millis| Step::Advance { millis }),
        1 => Just(Step::Join),
        1 => (0..4_usize).prop_map(|member| Step::Close { member }),
        1 => (0..4_usize).prop_map(|member| Step::Crash { member }),
    ]
}

type Place = (i32, i64);

struct Model {
    broker: Memory,
    members: Vec<(u64, Member)>,
    joined: u64,
    /// What members hold, with the member.
    held: Vec<(u64, Given)>,
    keys: BTreeMap<Place, &'static str>,
    /// Answered with success since its partition was last assigned anew.
    done: BTreeSet<Place>,
    committed: BTreeMap<i32, i64>,
}

impl Model {
    fn new() -> Self {
        let mut model = Model {
            broker: broker(PARTITIONS as u32),
            members: Vec::new(),
            joined: 0,
            held: Vec::new(),
            keys: BTreeMap::new(),
            done: BTreeSet::new(),
            committed: BTreeMap::new(),
        };
        model.join();
        model
    }

    fn join(&mut self) {
        if self.members.len() < 4 {
            self.joined += 1;
            let member = Member::with_room(&self.broker.subscribe("t").group("g"), 8);
            self.members.push((self.joined, member));
        }
    }

    fn is_held(&self, place: Place) -> bool {
        self.held.iter().any(|(_, d)| !d.lease.is_lost() && (partition(d), offset(d)) == place)
    }

    fn receive(&mut self, member: usize) -> Result<usize, TestCaseError> {
        let Some((id, member)) = self.members.get_mut(member) else { return Ok(0) };
        let (id, batch) = (*id, member.now());
        let count = batch.len();
        for delivery in batch {
            let place = (partition(&delivery), offset(&delivery));
            prop_assert!(!delivery.lease.is_lost());
            prop_assert!(!self.is_held(place), "{place:?} is out twice");
            prop_assert!(place.1 >= self.broker.committed("t", "g", place.0));
            let elsewhere =
                |(other, d): &(u64, Given)| *other != id && !d.lease.is_lost() && partition(d) == place.0;
            prop_assert!(!self.held.iter().any(elsewhere), "{place:?} is of a partition of another member");
            let key = self.keys[&place];
            for (earlier, _) in
                self.keys.range((place.0, 0)..place).filter(|(_, k)| **k == key && !key.is_empty())
            {
                let is_done =
                    self.done.contains(earlier) || earlier.1 < self.broker.committed("t", "g", place.0);
                prop_assert!(is_done || self.is_held(*earlier), "{place:?} overtakes {earlier:?}");
            }
            self.held.push((id, delivery));
        }
        Ok(count)
    }

    fn settle(&mut self, at: usize, how: Option<Settlement>) -> Result<(), TestCaseError> {
        if self.held.is_empty() {
            return Ok(());
        }
        let (_, delivery) = self.held.swap_remove(at % self.held.len());
        let (place, lost) = ((partition(&delivery), offset(&delivery)), delivery.lease.is_lost());
        if let Some(how) = how {
            let answer = delivery.settler.settle(how).now_or_never().unwrap();
            prop_assert_eq!(answer.is_err(), lost);
            if how == Settlement::Ack && !lost {
                self.done.insert(place);
            }
        }
        Ok(())
    }

    /// The committed offset is exactly the prefix that is done: what a partition that moved forgot is not in it.
    fn check(&mut self) -> Result<(), TestCaseError> {
        for partition in 0..PARTITIONS {
            let committed = self.broker.committed("t", "g", partition);
            let before = self.committed.insert(partition, committed).unwrap_or(0);
            prop_assert!(committed >= before, "{partition} went back from {before} to {committed}");
            for offset in before..committed {
                prop_assert!(self.done.contains(&(partition, offset)), "{partition}@{offset} is open");
            }
        }
        Ok(())
    }

    async fn run(mut self, steps: Vec<Step>) -> Result<(), TestCaseError> {
        for step in steps {
            match step {
                Step::Publish { key, partition } => {
                    let message = keyed(KEYS[key]).with_partition(partition);
                    let offset = send(&self.broker, message).offset.unwrap();
                    self.keys.insert((partition, offset), KEYS[key]);
                }
                Step::Receive { member } => drop(self.receive(member)?),
                Step::Ack { at } => self.settle(at, Some(Settlement::Ack))?,
                Step::Nack { at, millis } => {
                    self.settle(at, Some(Settlement::retry_after(Duration::from_millis(millis))))?;
                }
                Step::Drop { at } => self.settle(at, None)?,
                Step::Advance { millis } => tokio::time::advance(Duration::from_millis(millis)).await,
                Step::Join => self.join(),
                Step::Close { member } if member < self.members.len() => {
                    let (_, member) = self.members.remove(member);
                    member.source.close(std::time::Instant::now()).await.unwrap();
                }
                Step::Crash { member } if member < self.members.len() => drop(self.members.remove(member)),
                Step::Close { .. } | Step::Crash { .. } => {}
            }
            self.check()?;
        }
        // Everybody gives up; one member does the rest.
        self.held.clear();
        self.members.clear();
        self.join();
        tokio::time::advance(Duration::from_secs(1)).await;
        while self.receive(0)? > 0 {
            while !self.held.is_empty() {
                self.settle(0, Some(Settlement::Ack))?;
            }
            self.check()?;
        }
        for partition in 0..PARTITIONS {
            prop_assert_eq!(self.broker.committed("t", "g", partition), self.broker.end("t", partition));
        }
        prop_assert_eq!(self.broker.lag("t", "g"), 0);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_and_no_open_message_is_committed(steps in prop::collection::vec(step(), 1..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(Model::new().run(steps))?;
    }
}

#[test]
fn messages_of_two_brokers_do_not_mix() {
    let (a, b) = (broker(1), broker(1));
    send(&a, Message::new("x"));
    assert_eq!((a.end("t", 0), b.end("t", 0)), (1, 0));
}
