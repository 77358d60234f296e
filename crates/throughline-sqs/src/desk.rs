//! What is held of a queue, and what is owed to it: the state that settlers, pollers and the keeper share.

use crate::owed::{Answer, BATCH, Batch, Claim, Entry, Pending, Work};
use std::{
    cmp::Reverse,
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use throughline_core::{ByteString, Destination, Error, ErrorKind, Event, LeaseOwner, Observer, Settlement};
use tokio::{sync::Notify, time::Instant};

/// Answers that SQS has not confirmed: more, and settling waits.
const UNCONFIRMED: usize = 1_000;
/// A message can be held for so long after its receipt, and no longer.
const LONGEST: Duration = Duration::from_secs(12 * 3600);
/// How long at least an answer is tried again.
const GIVE_UP: Duration = Duration::from_secs(60);

/// One source's.
pub(crate) struct Desk {
    pub(crate) destination: Arc<Destination>,
    pub(crate) observer: Observer,
    /// For how long a receipt, and each extension, hides a message.
    pub(crate) visibility: Duration,
    state: Mutex<State>,
    /// Something is to be done.
    pub(crate) work: Notify,
    /// Fewer answers are unconfirmed, or none.
    fewer: Notify,
}

#[derive(Default)]
struct State {
    held: HashMap<u64, Held>,
    next: u64,
    deletes: Pending,
    hides: Pending,
    /// To be tried again.
    later: Vec<Batch>,
    unconfirmed: usize,
    /// When the leases have to be looked at next.
    next_lease: Option<Instant>,
    closing: bool,
    closed: bool,
}

/// A message that is ours until it is settled.
struct Held {
    claim: Claim,
    lease: LeaseOwner,
    received: Instant,
    /// It is visible again from here on.
    until: Instant,
    /// Its extension is under way.
    extending: bool,
    /// The last one failed, so the next waits for this moment.
    extend_again: Option<Instant>,
}

impl Desk {
    pub(crate) fn new(destination: Arc<Destination>, observer: Observer, visibility: Duration) -> Self {
        Desk {
            destination,
            observer,
            visibility,
            state: Mutex::default(),
            work: Notify::new(),
            fewer: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was received is held from here on; gives its ticket.
    pub(crate) fn hold(&self, claim: Claim, lease: LeaseOwner) -> u64 {
        let now = Instant::now();
        let mut state = self.state();
        let ticket = state.next;
        state.next += 1;
        let until = now + self.visibility;
        let held = Held { claim, lease, received: now, until, extending: false, extend_again: None };
        state.held.insert(ticket, held);
        let look = now + self.visibility / 2;
        if state.next_lease.is_none_or(|next| look < next) {
            state.next_lease = Some(look);
            self.work.notify_one();
        }
        ticket
    }

    /// Takes an answer. `None` for what is dropped unsettled.
    ///
    /// # Errors
    /// `LeaseLost` if it is no longer held.
    pub(crate) fn settle(&self, ticket: u64, id: &ByteString, how: Option<Settlement>) -> Result<(), Error> {
        let mut state = self.state();
        let Some(held) = state.held.remove(&ticket) else {
            let remedy =
                "its visibility time-out had ended, or its group was given back; the message comes again";
            return Err(Error::new(ErrorKind::LeaseLost, &**id, remedy));
        };
        if state.closed {
            let remedy = "the source was closed before; the message comes again";
            return Err(Error::new(ErrorKind::Closed, &**id, remedy));
        }
        let answer = match how {
            Some(Settlement::Ack | Settlement::Reject) => Answer::Delete,
            Some(Settlement::Nack { after }) => {
                let left = LONGEST.saturating_sub(held.received.elapsed());
                Answer::Hide(whole_seconds(after.unwrap_or_default()).min(left))
            }
            None => Answer::Hide(Duration::ZERO),
        };
        // What came after it in its group must not be done before it.
        if let (Answer::Hide(_), Some(group)) = (answer, &held.claim.group) {
            state.give_back_group(group, ticket, self.visibility);
        }
        state.owe(held, answer, self.visibility);
        // The first of a batch sets a time, the tenth ends the wait; those between change nothing.
        let matters = |pending: &Pending| matches!(pending.entries.len(), 1 | BATCH);
        let wake = matters(&state.deletes) || matters(&state.hides) || state.held.is_empty();
        drop(state);
        if wake {
            self.work.notify_one();
        }
        Ok(())
    }

    /// Waits until not too many answers are unconfirmed.
    pub(crate) async fn room(&self) {
        self.until(|state| state.unconfirmed <= UNCONFIRMED || state.closed).await;
    }

    /// Waits until every answer is confirmed or given up.
    pub(crate) async fn settled(&self) {
        self.until(|state| state.unconfirmed == 0 || state.closed).await;
    }

    async fn until(&self, reached: impl Fn(&State) -> bool) {
        loop {
            let fewer = self.fewer.notified();
            tokio::pin!(fewer);
            fewer.as_mut().enable();
            if reached(&self.state()) {
                return;
            }
            fewer.await;
        }
    }

    /// How many answers are not confirmed.
    pub(crate) fn unconfirmed(&self) -> usize {
        self.state().unconfirmed
    }

    /// From here on nothing waits for more to fill its batch.
    pub(crate) fn begin_close(&self) {
        self.state().closing = true;
        self.work.notify_one();
    }

    /// Nothing is answered or extended any more.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.work.notify_one();
        self.fewer.notify_waiters();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// What is due, taken: at most `most` calls.
    pub(crate) fn take_work(&self, most: usize) -> Work {
        let now = Instant::now();
        let mut state = self.state();
        let mut work = Work::default();
        let at_once = state.closing || state.held.is_empty();
        let state = &mut *state;
        for pending in [&mut state.deletes, &mut state.hides] {
            while work.answers.len() < most && pending.is_due(now, at_once) {
                work.answers.push(pending.take(now));
            }
            work.look_at(pending.due());
        }
        while work.answers.len() < most
            && let Some(at) = state.later.iter().position(|batch| batch.due <= now)
        {
            work.answers.push(state.later.swap_remove(at));
        }
        work.look_at(state.later.iter().map(|batch| batch.due).min());
        let lost = state.leases(now, self.visibility, &mut work);
        work.look_at(state.next_lease);
        self.tell_lost(lost);
        work
    }

    fn tell_lost(&self, lost: Vec<Held>) {
        if !lost.is_empty() {
            let event = Event::LeaseLost { destination: &self.destination, count: lost.len() };
            lost.iter().for_each(|held| held.lease.lose());
            self.observer.observe(event);
        }
    }

    /// Extensions were made at `asked`, but for those that failed: a lease that is gone is lost, what failed otherwise is
    /// tried again.
    pub(crate) fn extended(
        &self,
        tickets: &[u64],
        asked: Instant,
        failures: &[(usize, Error)],
        all_failed: bool,
    ) {
        let mut state = self.state();
        let mut lost = Vec::new();
        let again = Instant::now() + self.visibility / 8;
        for (at, ticket) in tickets.iter().enumerate() {
            let failure = failures.iter().find(|(place, _)| *place == at).map(|(_, error)| error.kind());
            let gone = failure.is_some_and(|kind| matches!(kind, ErrorKind::LeaseLost | ErrorKind::Config));
            if gone {
                lost.extend(state.lose(*ticket, self.visibility));
            } else if let Some(held) = state.held.get_mut(ticket) {
                held.extending = false;
                let failed = failure.is_some() || all_failed;
                held.extend_again = failed.then_some(again);
                if !failed {
                    held.until = asked + self.visibility;
                }
            }
        }
        let soon = if all_failed { again } else { Instant::now() };
        state.next_lease = Some(state.next_lease.map_or(soon, |next| next.min(soon)));
        self.tell_lost(lost);
        drop(state);
        self.work.notify_one();
    }

    /// So many answers are confirmed or given up.
    pub(crate) fn done(&self, count: usize) {
        if count == 0 {
            return;
        }
        let mut state = self.state();
        state.unconfirmed = state.unconfirmed.saturating_sub(count);
        drop(state);
        self.fewer.notify_waiters();
        self.work.notify_one();
    }

    /// Tries these again after a while; gives back those that were tried for long enough.
    pub(crate) fn again(&self, entries: Vec<Entry>, tries: u32, singly: bool) -> Vec<Entry> {
        let now = Instant::now();
        let (entries, given_up): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|entry| now < entry.give_up);
        let most = Duration::from_secs(3);
        let due = now
            + Duration::from_millis(100)
                .saturating_mul(1 << tries.min(6))
                .min(most)
                .mul_f64(0.75 + fastrand::f64() / 2.0);
        let mut state = self.state();
        if singly {
            state.later.extend(entries.into_iter().map(|entry| Batch {
                entries: vec![entry],
                tries: tries + 1,
                due,
            }));
        } else if !entries.is_empty() {
            state.later.push(Batch { entries, tries: tries + 1, due });
        }
        drop(state);
        self.work.notify_one();
        given_up
    }
}

impl State {
    fn owe(&mut self, held: Held, answer: Answer, visibility: Duration) {
        let now = Instant::now();
        // A message that was not done is visible at the end of its time, whether it was told or not.
        let give_up =
            if answer == Answer::Delete { now + GIVE_UP.max(visibility) } else { held.until.max(now) };
        let entry = Entry { claim: held.claim, answer, give_up };
        let pending = if answer == Answer::Delete { &mut self.deletes } else { &mut self.hides };
        pending.entries.push(entry);
        pending.since.get_or_insert(now);
        self.unconfirmed += 1;
    }

    /// Gives back what was received of this group after the ticket. Its leases are marked, so that the worker lets go of
    /// what waits in the group's lane.
    fn give_back_group(&mut self, group: &ByteString, after: u64, visibility: Duration) {
        let is_later = |(ticket, held): (&u64, &Held)| {
            (*ticket > after && held.claim.group.as_ref() == Some(group)).then_some(*ticket)
        };
        let later: Vec<u64> = self.held.iter().filter_map(is_later).collect();
        for ticket in later {
            if let Some(held) = self.held.remove(&ticket) {
                held.lease.lose();
                self.owe(held, Answer::Hide(Duration::ZERO), visibility);
            }
        }
    }

    /// Takes out what is no longer ours, and gives back what came after it in its group, which would overtake it.
    fn lose(&mut self, ticket: u64, visibility: Duration) -> Option<Held> {
        let held = self.held.remove(&ticket)?;
        if let Some(group) = &held.claim.group {
            self.give_back_group(group, ticket, visibility);
        }
        Some(held)
    }

    /// Finds leases that are to be extended, and takes out those that have ended.
    fn leases(&mut self, now: Instant, visibility: Duration, work: &mut Work) -> Vec<Held> {
        if self.next_lease.is_none_or(|next| next > now) {
            return Vec::new();
        }
        let is_over = |held: &Held| held.until <= now || now >= held.received + LONGEST;
        let mut over: Vec<u64> =
            self.held.iter().filter(|(_, held)| is_over(held)).map(|(ticket, _)| *ticket).collect();
        // The last first: what ended is not given back.
        over.sort_unstable_by_key(|ticket| Reverse(*ticket));
        let lost = over.iter().filter_map(|ticket| self.lose(*ticket, visibility)).collect();
        // Those that are due soon go along: fewer calls, and what was received together stays together.
        let soon = now + visibility / 8;
        let mut due = Vec::new();
        let mut next: Option<Instant> = None;
        for (ticket, held) in &mut self.held {
            let at = held.extend_again.unwrap_or(held.until - visibility / 2);
            if held.extending {
                continue;
            }
            if at <= if held.extend_again.is_some() { now } else { soon } {
                held.extending = true;
                let left = (held.received + LONGEST).saturating_duration_since(now);
                due.push((*ticket, held.claim.handle.clone(), visibility.min(left)));
            } else {
                next = Some(next.map_or(at, |next| next.min(at)));
            }
        }
        // Also what is being extended has an end that must not be missed.
        let end = self.held.values().filter(|held| held.extending).map(|held| held.until).min();
        self.next_lease = [next, end].into_iter().flatten().min();
        work.extensions = due.chunks(BATCH).map(<[_]>::to_vec).collect();
        lost
    }
}

/// SQS counts whole seconds, and a message must not come before its time.
fn whole_seconds(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0)))
}

#[cfg(test)]
mod tests;
