//! What happens when partitions come and go.
//!
//! A revoke is finished here, on the poll thread and outside of the client's callback: hand out no more, let what is in
//! flight finish up to a deadline while polling goes on, make the cut (later settlements are no-ops), commit what is
//! below it, and only then release the partitions, which lets the group go on.

use crate::{
    client::errors,
    consume::{
        asking::Answer,
        context::{self, Change},
        hooks::Hooks,
        placing::{Looking, Search},
        poll::Poller,
        slots::{NONE, Slot},
        stock::Stock,
        transactional::Owned,
    },
};
use rdkafka::{TopicPartitionList, consumer::Consumer};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use throughline_core::{Error, ErrorKind, Event, Extensions, Lease};

/// How long the broker may take to confirm the commit of what is given up.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long after a refused commit it is tried again.
const COMMIT_RETRY: Duration = Duration::from_millis(100);

/// How often it is looked whether what is in flight is done.
const LOOK: Duration = Duration::from_millis(10);

impl Poller {
    /// Works off what the client's callbacks and the broker's answers wrote down.
    pub(crate) fn serve(&mut self) {
        while self.consumer.context().pending() {
            let inbox = self.consumer.context().take();
            self.changes.extend(inbox.changes);
            for answer in inbox.answers {
                match answer {
                    Answer::Commit(result) => self.on_committed(result),
                    Answer::Positions(places) => self.on_places(places),
                    Answer::Missing(topics) => self.on_missing(topics),
                    Answer::Failed(error) => self.fail(error),
                }
            }
            self.refused |= inbox.made_anew && self.slots.iter().any(|slot| self.is_made_anew(slot));
            if let Some(statistics) = inbox.statistics {
                self.on_statistics(&statistics);
            }
        }
        self.search_again();
        self.look_for_topics();
        while self.search.is_none()
            && let Some(change) = self.changes.pop_front()
        {
            match change {
                Change::Assign(partitions) => self.search(Looking::Given(partitions)),
                Change::Revoke { partitions, lost } => self.revoke(&partitions, lost),
            }
        }
        if self.search.is_none() && std::mem::take(&mut self.refused) {
            self.search(Looking::Refused);
        }
    }

    /// Whether its name stands for another topic by now.
    fn is_made_anew(&self, slot: &Slot) -> bool {
        let now = self.consumer.context().topic_ids.mark(slot.partition.topic());
        let other = slot.mark.as_ref().zip(now).is_some_and(|(mark, now)| mark.is_of_another_topic(&now));
        slot.assigned && other
    }

    /// A fresh assignment of a slot.
    pub(crate) fn begin(&mut self, at: usize) {
        let slot = &mut self.slots[at];
        slot.mark = self.consumer.context().topic_ids.mark(slot.partition.topic());
        slot.partition.assign();
        let (owner, lease) = Lease::new(Some(self.demand.clone()));
        slot.lease = Some((owner, Stock::new(lease)));
        slot.extensions = Extensions::default();
        if let Some(by) = &slot.by {
            let partition = slot.partition.clone();
            partition.cover_nothing();
            slot.extensions.insert(Arc::new(Owned {
                generation: partition.generation(),
                partition,
                mark: slot.mark.clone(),
                by: by.clone(),
                consumer: Arc::downgrade(&self.consumer),
                exchange: self.exchange.clone(),
                observer: self.observer.clone(),
            }));
        }
        (slot.assigned, slot.revoking, slot.paused) = (true, false, false);
        (slot.requested, slot.committed, slot.next, slot.end) = (NONE, NONE, NONE, None);
        self.demand.assign(slot.partition.index);
    }

    /// The log was reset under us: what is out is no longer ours, and the partition starts anew where it is.
    pub(crate) fn begin_again(&mut self, at: usize) {
        self.cut(&[at]);
        self.begin(at);
    }

    fn revoke(&mut self, partitions: &TopicPartitionList, lost: bool) {
        let mine = partitions.elements().iter().filter_map(|e| self.find(e.topic(), e.partition())).collect();
        let now = Instant::now();
        self.give_up(mine, lost, now + self.plan.revoke_timeout, COMMIT_TIMEOUT);
        if let Err(error) = context::release(&self.consumer, partitions) {
            self.fail(errors::from_client(error, &self.plan.group));
        }
    }

    /// Ends the assignment of these slots: what is in flight may finish until `finish`, and the broker may then take
    /// `confirm` for the commit. Says whether everything that was done is committed.
    fn give_up(&mut self, mine: Vec<usize>, lost: bool, finish: Instant, confirm: Duration) -> bool {
        let mine: Vec<usize> = mine.into_iter().filter(|at| self.slots[*at].assigned).collect();
        mine.iter().for_each(|at| self.slots[*at].revoking = true);
        self.drop_held(&mine);
        let mut lost = lost;
        if !lost {
            self.wait(finish, |poller| {
                let busy = mine.iter().any(|at| poller.slots[*at].partition.held() > 0);
                !busy || poller.consumer.assignment_lost()
            });
            lost = self.consumer.assignment_lost();
        }
        let cut = self.cut(&mine);
        let end = Instant::now() + confirm;
        // The client may hold a commit back and send it later, under the next assignment: never release before.
        self.wait(end, |poller| poller.outstanding.is_none());
        let open = |poller: &Self| cut.iter().any(|(at, offset, _)| poller.slots[*at].committed < *offset);
        // A rebalance refuses commits for a moment, so one refusal is not the last word.
        while !lost
            && !self.commits_refused
            && open(self)
            && self.outstanding.is_none()
            && Instant::now() < end
        {
            let rest =
                cut.iter().filter(|(at, offset, _)| self.slots[*at].committed < *offset).copied().collect();
            self.commit(rest);
            self.wait(end, |poller| poller.outstanding.is_none());
            if open(self) {
                self.wait(end.min(Instant::now() + COMMIT_RETRY), |_| false);
                lost = self.consumer.assignment_lost();
            }
        }
        let done = !open(self);
        for at in &mine {
            let slot = &mut self.slots[*at];
            (slot.assigned, slot.revoking, slot.paused) = (false, false, false);
            (slot.by, slot.extensions) = (None, Extensions::default());
            self.demand.unassign(slot.partition.index);
        }
        self.tell(&[], &mine);
        done
    }

    /// Makes the cut: leases are lost, later settlements do nothing. Says how far each slot was done.
    fn cut(&mut self, mine: &[usize]) -> Vec<(usize, i64, usize)> {
        let mut done = Vec::new();
        for at in mine {
            let slot = &mut self.slots[*at];
            let rest = slot.partition.revoke();
            if let Some((owner, _)) = slot.lease.take() {
                owner.lose();
            }
            if rest.held > 0 {
                let destination = &slot.partition.destination;
                self.observer.observe(Event::LeaseLost { destination, count: rest.held });
            }
            if let Some(offset) = rest.lowest_open.filter(|offset| *offset > slot.committed) {
                done.push((*at, offset, rest.completed));
            }
        }
        done
    }

    /// Polls until it is so, or the time is over, or the source is closed with less time left.
    fn wait(&mut self, deadline: Instant, is_so: impl Fn(&Self) -> bool) {
        loop {
            for answer in self.consumer.context().take_commits() {
                self.on_committed(answer);
            }
            let closing = self.exchange.closing().unwrap_or(deadline);
            if is_so(self) || Instant::now() >= deadline.min(closing) {
                return;
            }
            self.poll(LOOK);
        }
    }

    pub(crate) fn tell(&self, assigned: &[usize], revoked: &[usize]) {
        let name = |at: &usize| {
            let partition = &self.slots[*at].partition;
            (partition.destination.clone(), partition.number)
        };
        let (assigned, revoked): (Vec<_>, Vec<_>) =
            (assigned.iter().map(name).collect(), revoked.iter().map(name).collect());
        if !assigned.is_empty() || !revoked.is_empty() {
            self.observer.observe(Event::Rebalanced { assigned: &assigned, revoked: &revoked });
            for (hook, changed) in
                [(&self.plan.hooks.assigned, &assigned), (&self.plan.hooks.revoked, &revoked)]
            {
                let named: Vec<_> = changed.iter().map(|(topic, number)| (&*topic.name, *number)).collect();
                Hooks::call(hook.as_ref(), &named);
            }
        }
    }

    /// The end of the thread: commit, leave the group, go.
    pub(crate) fn leave(mut self, deadline: Instant) {
        // A batch that nobody took gives its messages back, so that the wait below does not wait for them.
        self.exchange.take_back();
        let all = (0..self.slots.len()).collect();
        // The worker has settled or dropped everything: what still is out will not come, and is not waited for.
        let (now, lost) = (Instant::now(), self.exchange.abandoned() || self.consumer.assignment_lost());
        let done = self.give_up(all, lost, now, deadline.saturating_duration_since(now));
        let context = self.consumer.context();
        context.leave();
        // What came in meanwhile: the client waits for an answer to each before it can go.
        let mut changes = std::mem::take(&mut self.changes);
        changes.extend(context.take().changes);
        if let Some(Looking::Given(partitions)) = self.search.take().map(Search::into_looking) {
            changes.push_front(Change::Assign(partitions));
        }
        for change in changes {
            context::refuse(&self.consumer, &change);
        }
        if self.consumer.close_queue().is_ok() {
            while !self.consumer.closed() && Instant::now() < deadline {
                self.poll(LOOK);
            }
        }
        let result = if done {
            Ok(())
        } else {
            let remedy = "not all that is done was committed by the deadline; it will be delivered again";
            Err(Error::new(ErrorKind::Timeout, &self.plan.group, remedy))
        };
        self.exchange.end(Some(result));
        // Dropping the consumer may take long while brokers are away. Nobody waits for this thread.
    }
}
