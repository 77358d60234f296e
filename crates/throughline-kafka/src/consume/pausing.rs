//! Which partitions are paused in the client: one alone that is blocked, or all while nobody wants anything.

use crate::consume::{
    partitions::Partition,
    poll::Poller,
    slots::{Held, Slot},
};
use rdkafka::{TopicPartitionList, consumer::Consumer, error::KafkaError};

impl Poller {
    /// Keeps a record and pauses its partition until it may go on.
    pub(crate) fn block(&mut self, held: Held) {
        let slot = &mut self.slots[held.slot];
        slot.paused = true;
        (slot.waits_since, slot.end) = (None, None);
        let list = list([&*slot.partition]);
        self.held.push_front(held);
        self.report("pause", self.consumer.pause(&list));
    }

    /// Resumes the partitions that have room again.
    pub(crate) fn unblock(&mut self) {
        let demand = &self.demand;
        let free =
            |slot: &&mut Slot| slot.paused && !demand.blocked(slot.partition.index) && !slot.partition.full();
        let mut freed = Vec::new();
        for slot in self.slots.iter_mut().filter(free) {
            (slot.paused, slot.end) = (false, None);
            if slot.assigned {
                freed.push(slot.partition.clone());
            }
        }
        if !freed.is_empty() && !self.all_paused {
            self.report("resume", self.consumer.resume(&list(freed.iter().map(|p| &**p))));
        }
    }

    pub(crate) fn pause_all(&mut self) {
        if !self.all_paused {
            self.all_paused = true;
            self.slots.iter_mut().for_each(|slot| slot.end = None);
            let assigned = list(self.slots.iter().filter(|slot| slot.assigned).map(|slot| &*slot.partition));
            self.report("pause", self.consumer.pause(&assigned));
        }
    }

    pub(crate) fn resume_all(&mut self) {
        if self.all_paused {
            self.all_paused = false;
            let flowing = self.slots.iter().filter(|slot| slot.assigned && !slot.paused);
            let flowing = list(flowing.map(|slot| &*slot.partition));
            self.report("resume", self.consumer.resume(&flowing));
        }
    }

    /// A pause of an earlier assignment may outlive it in the client, so it is said anew for these.
    pub(crate) fn say_pauses(&self, of: &[usize]) {
        let paused = |slot: &&Slot| self.all_paused || slot.paused;
        let (paused, flowing): (Vec<_>, Vec<_>) = of.iter().map(|at| &self.slots[*at]).partition(paused);
        for (what, slots) in [("pause", paused), ("resume", flowing)] {
            let all = list(slots.iter().map(|slot| &*slot.partition));
            if all.count() > 0 {
                let pauses = what == "pause";
                let result = if pauses { self.consumer.pause(&all) } else { self.consumer.resume(&all) };
                self.report(what, result);
            }
        }
    }

    fn report(&self, what: &str, result: Result<(), KafkaError>) {
        if let Err(error) = result {
            tracing::debug!(%error, what, "the client refused");
        }
    }
}

/// These partitions, without offsets.
pub(crate) fn list<'a>(partitions: impl IntoIterator<Item = &'a Partition>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        list.add_partition(partition.topic(), partition.number);
    }
    list
}
