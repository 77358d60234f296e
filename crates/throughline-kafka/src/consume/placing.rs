//! From partitions that were given to us, or that the client lost its place in, to places to read them from.

use crate::{
    client::errors,
    consume::{
        asking::Ask,
        context,
        poll::Poller,
        positions::{self, Place, Wanted},
        slots::NONE,
        subscription::Start,
    },
};
use rdkafka::{
    Offset, TopicPartitionList, error::KafkaError, topic_partition_list::TopicPartitionListElem,
    types::RDKafkaErrorCode as Code,
};
use std::time::{Duration, Instant};
use throughline_core::Event;

/// How long after a question that was not answered it is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(300);

/// What places are being looked up for.
pub(crate) enum Looking {
    /// Partitions that the group gave us; the client waits until we take them.
    Given(TopicPartitionList),
    /// Somewhere the client was refused to read on, or a topic was made anew. It does not say where, so all that we have
    /// is looked at.
    Refused,
}

/// A look-up under way.
pub(crate) struct Search {
    looking: Looking,
    /// When to ask again, if the last question was not answered.
    again: Option<Instant>,
}

impl Search {
    pub(crate) fn into_looking(self) -> Looking {
        self.looking
    }
}

impl Poller {
    /// Begins to look up places. One search at a time.
    pub(crate) fn search(&mut self, looking: Looking) {
        let wanted: Vec<Wanted> = match &looking {
            Looking::Given(partitions) => {
                let wanted = |element: &TopicPartitionListElem<'_>| Wanted {
                    topic: element.topic().to_owned(),
                    number: element.partition(),
                    refused: None,
                    mark: None,
                };
                partitions.elements().iter().map(wanted).collect()
            }
            Looking::Refused => {
                let ours = self.slots.iter().filter(|slot| slot.assigned && !slot.revoking);
                let wanted = ours.map(|slot| Wanted {
                    topic: slot.partition.topic().to_owned(),
                    number: slot.partition.number,
                    refused: Some(slot.next).filter(|next| *next != NONE),
                    mark: slot.mark.clone(),
                });
                wanted.collect()
            }
        };
        let given = matches!(looking, Looking::Given(_));
        let transactions = self.plan.transactions.clone().filter(|_| given);
        self.search = Some(Search { looking, again: None });
        // A cooperative rebalance may give nothing, and waits for the answer all the same.
        if wanted.is_empty() {
            self.on_places(Ok(Vec::new()));
        } else if self.asking.send(Ask::Positions(wanted, self.plan.start, transactions)).is_err() {
            self.on_places(Err(Code::Fail));
        }
    }

    /// Asks again what was not answered, once it is time.
    pub(crate) fn search_again(&mut self) {
        if self.search.as_ref().and_then(|search| search.again).is_some_and(|at| at <= Instant::now())
            && let Some(search) = self.search.take()
        {
            self.search(search.looking);
        }
    }

    /// The places are known, or not yet: a group is never begun anew because its broker did not answer.
    pub(crate) fn on_places(&mut self, answer: Result<Vec<Place>, Code>) {
        let Some(mut search) = self.search.take() else { return };
        match (answer, search.looking) {
            (Ok(places), looking) => {
                if self.plan.start == Start::Committed
                    && let Err(error) = positions::refuse_any_choice(&self.plan.group, &places)
                {
                    self.fail(error);
                }
                match looking {
                    Looking::Given(partitions) => self.take(partitions, &places),
                    Looking::Refused if self.failed => {}
                    Looking::Refused => self.go_on(places),
                }
            }
            // Already on its way to another member: nothing of it is read.
            (Err(_), Looking::Given(partitions)) if !self.changes.is_empty() => {
                self.accept(&partitions);
            }
            (Err(code), looking) => {
                if !errors::ends_source(code) {
                    search = Search { looking, again: Some(Instant::now() + ASK_AGAIN) };
                    self.search = Some(search);
                }
                self.on_error(KafkaError::OffsetFetch(code));
            }
        }
    }

    /// Takes partitions that were given to us, each at its place.
    fn take(&mut self, mut partitions: TopicPartitionList, places: &[Place]) {
        let mut gained = Vec::new();
        let mut anew = Vec::new();
        for place in places {
            let at = self.slot(&place.topic, place.number);
            let transactions = self.plan.transactions.as_ref();
            self.slots[at].by = transactions.and_then(|all| all.take(&place.topic, place.number));
            self.begin(at);
            // A source that ends reads nothing, and leaves the group's position as it is.
            if !self.failed {
                self.set_place(at, place);
            }
            if place.known.is_none() {
                anew.push(format!("{}/{}", place.topic, place.number));
            }
            let set = partitions.set_partition_offset(&place.topic, place.number, place.from);
            debug_assert!(set.is_ok(), "it was asked for");
            gained.push(at);
        }
        if !anew.is_empty() {
            let (group, partitions, start) = (&self.plan.group, anew.join(", "), self.plan.start);
            tracing::warn!(%group, %partitions, ?start, "the group has no committed offset and begins as it is set to");
        }
        if self.accept(&partitions) {
            self.say_pauses(&gained);
            self.tell(&gained, &[]);
        }
    }

    fn accept(&mut self, partitions: &TopicPartitionList) -> bool {
        let result = context::accept(&self.consumer, partitions);
        result.map_err(|error| self.fail(errors::from_client(error, &self.plan.group))).is_ok()
    }

    /// Reads on where there is something to read.
    fn go_on(&mut self, places: Vec<Place>) {
        let ours =
            |place: &Place| self.find(&place.topic, place.number).filter(|at| self.slots[*at].assigned);
        let places: Vec<(usize, Place)> =
            places.into_iter().filter_map(|place| Some((ours(&place)?, place))).collect();
        let moved =
            |(_, place): &&(usize, Place)| place.anew || place.known.map(Offset::Offset) != Some(place.from);
        let mut refused: Vec<usize> = places.iter().filter(moved).map(|(at, _)| *at).collect();
        if refused.is_empty() || !context::is_cooperative(&self.consumer) {
            // It was one of them; and an eager assignment is said as a whole.
            refused = places.iter().map(|(at, _)| *at).collect();
        }
        self.drop_held(&refused);
        let mut list = TopicPartitionList::new();
        for (at, place) in places.iter().filter(|(at, _)| refused.contains(at)) {
            let back = matches!(place.from, Offset::Offset(from) if from < self.slots[*at].next);
            if back || place.anew {
                // Another log under the same name: nothing that is out belongs to it.
                self.begin_again(*at);
            }
            self.set_place(*at, place);
            let added = list.add_partition_offset(&place.topic, place.number, place.from);
            debug_assert!(added.is_ok(), "an offset that the broker named");
        }
        match context::reassign(&self.consumer, &list) {
            Ok(()) => self.say_pauses(&refused),
            Err(error) => self.fail(errors::from_client(error, &self.plan.group)),
        }
    }

    /// Says what is passed over, and expects the next record.
    fn set_place(&mut self, at: usize, place: &Place) {
        let slot = &mut self.slots[at];
        slot.end = None;
        let Offset::Offset(from) = place.from else { return };
        slot.next = from;
        // From here on it is the group's position: who owns the partition next begins nowhere else.
        slot.partition.reach(from);
        if slot.requested == NONE
            && let Some(known) = place.known.filter(|known| *known <= from && !place.anew)
        {
            (slot.requested, slot.committed) = (known, known);
        }
        if let Some(known) = place.known.filter(|known| *known != from) {
            let reason = if place.anew {
                "the topic was deleted and made anew, and is read from its start"
            } else if known < from {
                "they are gone from the log"
            } else {
                "the log ends before the group's offset: it was made anew or cut, and is read from its start"
            };
            self.observer.observe(Event::Skipped {
                destination: &slot.partition.destination,
                partition: slot.partition.number,
                from: known,
                to: from,
                reason,
            });
        }
    }
}
