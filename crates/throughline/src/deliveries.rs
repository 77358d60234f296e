//! Deliveries that are handled together, and the queue that hands them out so.

use crate::{
    batcher::{Batcher, Entry, Place},
    lanes::LaneId,
    middleware::Outcomes,
    queue::{Books, Item, Pressure, Queue, Running},
};
use std::time::SystemTime;
use throughline_core::{BoxError, Delivery, Extensions, Extract, Inbound, Lease, PartitionIndex};
use tokio::time::Instant;

/// The deliveries of one batch, as one request.
pub(crate) struct Deliveries<Z> {
    pub(crate) each: Vec<Delivery<Z>>,
    pub(crate) extensions: Extensions,
    began: SystemTime,
}

/// What is known of a batch that is handled.
pub(crate) struct BatchTag {
    group: usize,
    /// Whose permit it has.
    partition: PartitionIndex,
    each: Vec<Known>,
}

/// What is known of one of its messages.
struct Known {
    place: Place,
    size: usize,
    lease: Lease,
}

impl<Z> Inbound for Deliveries<Z> {
    fn fields(&self) -> &dyn Extract {
        &()
    }

    fn extensions_mut(&mut self) -> Option<&mut Extensions> {
        Some(&mut self.extensions)
    }

    fn batch(&mut self) -> Option<Vec<&mut dyn Inbound>> {
        Some(self.each.iter_mut().map(|delivery| delivery as _).collect())
    }

    fn began(&self) -> Option<SystemTime> {
        Some(self.began)
    }
}

impl Running for BatchTag {
    fn partition(&self) -> PartitionIndex {
        self.partition
    }

    fn messages(&self) -> usize {
        self.each.len()
    }

    /// As long as one message is still ours its handling is not in vain; the late settlements of the others have no
    /// effect.
    fn is_lost(&self) -> bool {
        self.each.iter().all(|known| known.lease.is_lost())
    }
}

impl<Z> Queue<Z> for Batcher<Item<Z>> {
    type Request = Deliveries<Z>;
    type Answer = Outcomes<Z>;
    type Tag = BatchTag;

    const FORMS: bool = true;

    fn push(&mut self, item: Item<Z>) {
        let (partition, deliveries) = (item.delivery.partition, count(&item.delivery));
        Batcher::push(self, partition, deliveries, item, |item| item.delivery.message.key().map(|k| &k[..]));
    }

    fn look(&mut self, pressure: &Pressure<'_>) -> Option<Instant> {
        let Pressure { ending, demand, assigned } = *pressure;
        let no_room = demand.free() == 0;
        let is_leaving = |partition| !assigned.is_empty() && !assigned.contains(&partition);
        let now = Instant::now().into_std();
        let due = Batcher::look(self, now, ending || no_room, |partition| {
            demand.blocked(partition) || is_leaving(partition)
        });
        due.map(Instant::from_std)
    }

    fn has_ready(&self) -> bool {
        Batcher::has_ready(self)
    }

    fn next(
        &mut self,
        may_start: impl Fn(PartitionIndex) -> bool,
        mut started: impl FnMut(&Delivery<Z>),
        mut lost: impl FnMut(Item<Z>),
    ) -> Option<(BatchTag, Deliveries<Z>)> {
        loop {
            let (group, entries) = Batcher::next(self, &may_start)?;
            let waited = entries.first().map(|first| self.waited(first)).unwrap_or_default();
            let (mut each, mut known) =
                (Vec::with_capacity(entries.len()), Vec::with_capacity(entries.len()));
            for Entry { item, place, .. } in entries {
                if item.delivery.lease.is_lost() {
                    lost(item);
                    continue;
                }
                started(&item.delivery);
                known.push(Known { place, size: item.size, lease: item.delivery.lease.clone() });
                each.push(item.delivery);
            }
            let Some(first) = known.first() else {
                self.done(group);
                continue;
            };
            let tag = BatchTag { group, partition: first.place.partition, each: known };
            let began = SystemTime::now().checked_sub(waited).unwrap_or_else(SystemTime::now);
            return Some((tag, Deliveries { each, extensions: Extensions::default(), began }));
        }
    }

    fn finish(&mut self, tag: BatchTag, result: Result<Outcomes<Z>, BoxError>, books: &mut Books) {
        let results = match result {
            Ok(Outcomes(results)) => results,
            // Settlements fail one by one, so this is none of a settlement.
            Err(_) => return self.cancelled(tag, books),
        };
        books.count_panic(&results);
        let mut parked: Vec<(LaneId, Instant)> = Vec::new();
        for (Known { place, size, lease }, result) in tag.each.into_iter().zip(results) {
            let Some((how, held)) = books.settled(place.lane, &lease, result) else {
                books.release(place.partition, size);
                continue;
            };
            let lane = self.lane(tag.group, &place);
            books.held(place.lane, lane, how, &held);
            // What is parked in one lane comes together, so that it keeps its order: when the last of it may.
            let due = Instant::now() + held.after;
            match parked.iter_mut().find(|(known, _)| *known == lane) {
                Some((_, known)) => *known = due.max(*known),
                None => parked.push((lane, due)),
            }
            self.park(lane, place, count(&held.delivery), Item { delivery: held.delivery, size });
        }
        self.done(tag.group);
        for (lane, due) in parked {
            books.parked.push(due, lane);
        }
    }

    fn cancelled(&mut self, tag: BatchTag, books: &mut Books) {
        self.done(tag.group);
        for known in tag.each {
            books.release(known.place.partition, known.size);
        }
    }

    fn wake(&mut self, lane: LaneId) {
        Batcher::wake(self, lane);
    }

    fn retain(&mut self, keep: impl Fn(&Item<Z>, bool) -> bool, gone: impl FnMut(Item<Z>)) {
        Batcher::retain(self, keep, gone);
    }

    fn waiting(&self) -> usize {
        Batcher::waiting(self)
    }

    fn parked(&self) -> usize {
        Batcher::parked(self)
    }
}

/// Which delivery of its message it is.
fn count<Z>(delivery: &Delivery<Z>) -> u32 {
    delivery.message.origin().map_or(1, |origin| origin.delivery_count)
}
