//! What is held of a subscription: the state that settlers, streams and the keeper share.
//!
//! The client's handlers stay in here, so that a settler that was leaked holds up nothing: what is left at the end is
//! given back.

mod keeper;

pub(crate) use keeper::keep;

use crate::{
    PubSubSettler,
    answers::{Answers, Claim, Confirmed},
    counts::Counts,
    headers::Decoded,
    keys::{Arrival, Keys},
};
use google_cloud_pubsub::subscriber::handler::Handler;
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use throughline_core::{
    ByteString, Delivery, Demand, Error, ErrorKind, Lease, LeaseOwner, Message, PartitionIndex, Settlement,
};
use tokio::{
    sync::{Notify, futures::Notified},
    time::Instant,
};

/// What may be held, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Messages, running ones included.
    pub(crate) held: usize,
    /// Those of them that wait for the end of a delay.
    pub(crate) delayed: usize,
    pub(crate) bytes: usize,
    pub(crate) lease: Duration,
    /// After so many deliveries the service puts a message to the dead letters.
    pub(crate) deliveries: Option<i32>,
    /// Whether the subscription keeps the order of keys.
    pub(crate) ordered: bool,
    /// How long a key waits for what was given back.
    pub(crate) patience: Duration,
}

/// One source's.
pub(crate) struct Desk {
    pub(crate) demand: Demand,
    pub(crate) answers: Arc<Answers>,
    limits: Limits,
    state: Mutex<State>,
    /// Something may be handed over.
    arrived: Notify,
    /// There is room for more.
    room: Notify,
    /// The keeper has something to do.
    pub(crate) work: Notify,
}

struct State {
    held: HashMap<ByteString, Held>,
    ready: VecDeque<ByteString>,
    delayed: BTreeMap<(Instant, u64), ByteString>,
    keys: Keys,
    counts: Counts,
    bytes: usize,
    next: u64,
    /// Received since the start.
    received: u64,
    next_look: Option<Instant>,
    stopped: bool,
    closed: bool,
}

/// A message that is ours until it is settled.
struct Held {
    ticket: u64,
    claim: Claim,
    /// Until it is handed over.
    message: Option<Message>,
    size: usize,
    /// With the worker.
    lease: Option<LeaseOwner>,
    received: Instant,
    /// When its delay ends.
    due: Option<Instant>,
}

/// What came from a stream.
pub(crate) struct Arrived {
    pub(crate) decoded: Decoded,
    pub(crate) handler: Handler,
}

impl Desk {
    pub(crate) fn new(demand: Demand, answers: Arc<Answers>, limits: Limits) -> Self {
        let state = State {
            held: HashMap::new(),
            ready: VecDeque::new(),
            delayed: BTreeMap::new(),
            keys: Keys::new(limits.patience),
            counts: Counts::default(),
            bytes: 0,
            next: 0,
            received: 0,
            next_look: None,
            stopped: false,
            closed: false,
        };
        let (arrived, room, work) = (Notify::new(), Notify::new(), Notify::new());
        Desk { demand, answers, limits, state: Mutex::new(state), arrived, room, work }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was received is held from here on.
    pub(crate) fn hold(&self, batch: &mut Vec<Arrived>) {
        if batch.is_empty() {
            return;
        }
        let now = Instant::now();
        let mut unwanted = Vec::new();
        let mut state = self.state();
        for arrived in batch.drain(..) {
            state.received += 1;
            if state.stopped { unwanted.push(arrived) } else { self.hold_one(&mut state, arrived, now) }
        }
        state.next_look.get_or_insert(now + keeper::LOOK);
        drop(state);
        // Nobody is there to handle it: it is given back by being dropped.
        drop(unwanted);
        self.arrived.notify_one();
        self.work.notify_one();
    }

    fn hold_one(&self, state: &mut State, Arrived { decoded, handler }: Arrived, now: Instant) {
        let Decoded { mut message, id, key, context } = decoded;
        if let Some(held) = state.held.get_mut(&id) {
            // Delivered again while it is with us. The newer one counts, and they are answered together.
            let older = std::mem::replace(&mut held.claim.handler, handler);
            held.claim.others.push(older);
            return;
        }
        let last = self.limits.deliveries.is_some_and(|most| handler.delivery_attempt() >= Some(most));
        let counted = handler.delivery_attempt().is_some();
        if !counted && let Some(origin) = message.origin_mut() {
            origin.delivery_count = state.counts.delivery(&id);
        }
        let key = key.filter(|_| self.limits.ordered);
        let claim = Claim { id: id.clone(), key, handler, others: Vec::new(), context, counted, last };
        let arrival = match &claim.key {
            Some(key) => state.keys.arrived(key, &id, now.into_std()),
            None => Arrival::Start,
        };
        match arrival {
            Arrival::Done => return Answers::repeat(claim),
            Arrival::Start => state.ready.push_back(id.clone()),
            Arrival::Wait => {}
        }
        let size = message.size();
        let ticket = state.next;
        state.next += 1;
        state.bytes += size;
        let message = Some(message);
        state.held.insert(id, Held { ticket, claim, message, size, lease: None, received: now, due: None });
    }

    /// What may be handed over, as far as there is room.
    pub(crate) fn take(self: &Arc<Self>, most: usize) -> Vec<Delivery<PubSubSettler>> {
        let mut state = self.state();
        let mut taken = Vec::with_capacity(most.min(state.ready.len()));
        while taken.len() < most
            && let Some(id) = state.ready.pop_front()
        {
            let Some(held) = state.held.get_mut(&id) else { continue };
            let Some(message) = held.message.take() else { continue };
            let (owner, lease) = Lease::new(Some(self.demand.clone()));
            held.lease = Some(owner);
            let settler = PubSubSettler::new(self.clone(), held.ticket, id);
            taken.push(Delivery { message, settler, lease, partition: PartitionIndex::default() });
        }
        taken
    }

    /// Takes an answer; `None` for what is dropped unsettled. Gives where the service's word for it is told, if there will
    /// be one.
    ///
    /// # Errors
    /// `LeaseLost` if it is no longer held.
    pub(crate) fn settle(
        self: &Arc<Self>,
        ticket: u64,
        id: &ByteString,
        how: Option<Settlement>,
    ) -> Result<Option<Confirmed>, Error> {
        let mut state = self.state();
        if !state.held.get(id).is_some_and(|held| held.ticket == ticket && held.due.is_none()) {
            let remedy =
                "its lease could not be kept any longer, or the source is closed; the message comes again";
            return Err(Error::new(ErrorKind::LeaseLost, &**id, remedy));
        }
        let mut confirmed = None;
        match how {
            Some(Settlement::Ack | Settlement::Reject) => {
                state.counts.done(id);
                if let Some(claim) = state.remove(id) {
                    let key = claim.key.clone();
                    confirmed = self.answers.ack(claim, self);
                    // What waits for the service's word keeps its key until it has it.
                    if let (Some(key), None) = (key, &confirmed) {
                        state.go_on(&key, id);
                    }
                }
            }
            Some(Settlement::Nack { after }) => {
                state.count(id);
                match after.filter(|after| !after.is_zero() && !state.stopped) {
                    Some(after) => self.delay(&mut state, id, after),
                    None => self.give_back(&mut state, id),
                }
            }
            None => self.give_back(&mut state, id),
        }
        self.tell(state);
        Ok(confirmed)
    }

    /// The service's word for an acknowledgement.
    pub(crate) fn confirmed(self: &Arc<Self>, key: Option<&ByteString>, id: &ByteString, taken: bool) {
        let mut state = self.state();
        match key {
            Some(key) if taken => state.go_on(key, id),
            Some(key) => self.give_back_behind(&mut state, key, id, true),
            None => {}
        }
        self.tell(state);
    }

    /// Holds it until its delay is over.
    fn delay(self: &Arc<Self>, state: &mut State, id: &ByteString, after: Duration) {
        let due = Instant::now() + after;
        if let Some(held) = state.held.get_mut(id) {
            (held.due, held.lease) = (Some(due), None);
            state.delayed.insert((due, held.ticket), id.clone());
        }
        if state.delayed.len() > self.limits.delayed
            && let Some((_, first)) = state.delayed.pop_first()
        {
            self.give_back(state, &first);
        }
    }

    /// Gives it back now, and with it what waits behind it in its key.
    fn give_back(self: &Arc<Self>, state: &mut State, id: &ByteString) {
        let Some(claim) = state.remove(id) else { return };
        let (key, comes_again) = (claim.key.clone(), !claim.last);
        self.answers.nack(claim, self);
        if let Some(key) = key {
            self.give_back_behind(state, &key, id, comes_again);
        }
    }

    fn give_back_behind(
        self: &Arc<Self>,
        state: &mut State,
        key: &ByteString,
        id: &ByteString,
        comes_again: bool,
    ) {
        for id in state.keys.given_back(key, id, comes_again, now()) {
            if let Some(claim) = state.remove(&id) {
                self.answers.nack(claim, self);
            }
        }
    }

    /// Wakes whoever can do something now.
    fn tell(&self, state: MutexGuard<'_, State>) {
        self.tell_others(state);
        self.work.notify_one();
    }

    /// The same, but for the keeper.
    fn tell_others(&self, state: MutexGuard<'_, State>) {
        let (ready, room) = (!state.ready.is_empty(), self.room_in(&state));
        drop(state);
        if ready {
            self.arrived.notify_one();
        }
        if room {
            self.room.notify_waiters();
        }
    }

    fn room_in(&self, state: &State) -> bool {
        let bytes = state.bytes < self.limits.bytes || state.held.is_empty();
        state.held.len() < self.limits.held && bytes && !state.stopped
    }

    /// Whether more may be read, beside what is read and not held yet.
    pub(crate) fn has_room(&self, read: usize) -> bool {
        let state = self.state();
        self.room_in(&state) && state.held.len() + read < self.limits.held
    }

    /// Waits until more may be read; for ever at the end.
    pub(crate) async fn room(&self) {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            if self.has_room(0) {
                return;
            }
            room.await;
        }
    }

    /// Resolves at the next arrival after this call.
    pub(crate) fn arrived(&self) -> Notified<'_> {
        self.arrived.notified()
    }

    /// How many came since the start, and whether all of it is handed over.
    pub(crate) fn received(&self) -> (u64, bool) {
        let state = self.state();
        (state.received, state.ready.is_empty())
    }

    /// Gives back what was not handed over.
    pub(crate) fn give_back_unstarted(self: &Arc<Self>) {
        let mut state = self.state();
        self.let_go(&mut state, |held| held.message.is_some());
        self.tell(state);
    }

    /// Gives back what is not with the worker, for good: nothing is held for a delay any more, and what still comes is
    /// given back.
    pub(crate) fn stop(self: &Arc<Self>) {
        let mut state = self.state();
        state.stopped = true;
        self.let_go(&mut state, |held| held.lease.is_none());
        self.tell(state);
    }

    /// Gives back what is left, which nobody will answer for.
    pub(crate) fn close(self: &Arc<Self>) {
        let mut state = self.state();
        (state.stopped, state.closed) = (true, true);
        self.let_go(&mut state, |_| true);
        self.tell(state);
        self.answers.report();
    }

    fn let_go(self: &Arc<Self>, state: &mut State, which: impl Fn(&Held) -> bool) {
        let ids: Vec<_> =
            state.held.iter().filter(|(_, held)| which(held)).map(|(id, _)| id.clone()).collect();
        for id in ids {
            self.give_back(state, &id);
        }
    }
}

impl State {
    /// Takes it out, wherever it is.
    fn remove(&mut self, id: &ByteString) -> Option<Claim> {
        let held = self.held.remove(id)?;
        self.bytes = self.bytes.saturating_sub(held.size);
        if let Some(due) = held.due {
            self.delayed.remove(&(due, held.ticket));
        }
        Some(held.claim)
    }

    /// It is done: the next of its key may start.
    fn go_on(&mut self, key: &ByteString, id: &ByteString) {
        self.ready.extend(self.keys.done(key, id, now()));
    }

    /// Counts a nack where the service does not.
    fn count(&mut self, id: &ByteString) {
        if self.held.get(id).is_some_and(|held| !held.claim.counted) {
            self.counts.nacked(id);
        }
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}
