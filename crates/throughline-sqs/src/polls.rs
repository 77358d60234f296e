//! The polls of a source: how many are open, and what they brought.

use crate::{
    SqsSettler,
    calls::{Ask, Calls},
    config::is_fifo,
    desk::Desk,
    headers::{self, Decoded},
    owed::Claim,
    subscription::Settings,
};
use aws_sdk_sqs::types::Message as Native;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use throughline_core::{Delivery, Demand, Error, ErrorKind, Event, Lease, PartitionIndex, Phase};
use tokio::{
    sync::{Notify, futures::Notified},
    time::Instant,
};

/// What carries a trace context, whatever the user asks for.
const PROPAGATION: [&str; 3] = ["traceparent", "tracestate", "baggage"];
/// The first wait after an error; then it doubles.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait where nobody answered: a server that is back is found soon.
const LONGEST_AWAY: Duration = Duration::from_secs(2);
/// The longest wait after a refusal.
const LONGEST_REFUSED: Duration = Duration::from_secs(8);

pub(crate) struct Polls {
    pub(crate) calls: Arc<Calls>,
    pub(crate) desk: Arc<Desk>,
    demand: Demand,
    settings: Settings,
    fifo: bool,
    attributes: Vec<String>,
    state: Mutex<State>,
    /// Something arrived, or a poll ended.
    arrived: Notify,
    ended: Notify,
}

#[derive(Default)]
struct State {
    ready: Vec<Delivery<SqsSettler>>,
    open: usize,
    /// What the open polls may bring at most.
    reserved: usize,
    /// How many should be open.
    target: usize,
    failures: u32,
    /// The failures were that nobody answered.
    lost: bool,
    /// Nobody answered at some time since the last poll that went well.
    was_lost: bool,
    not_before: Option<Instant>,
    /// The identity of a receive that failed: its answer may be lost.
    attempt: Option<String>,
    stopped: bool,
}

impl Polls {
    pub(crate) fn new(calls: Arc<Calls>, desk: Arc<Desk>, demand: Demand, settings: Settings) -> Self {
        let attributes = match &settings.only {
            None => vec!["All".to_owned()],
            Some(only) => {
                let ours = PROPAGATION.into_iter().chain(headers::OURS).map(str::to_owned);
                only.iter().cloned().chain(ours).collect()
            }
        };
        let fifo = is_fifo(calls.url());
        let state = Mutex::new(State { target: 1, ..State::default() });
        let (arrived, ended) = (Notify::new(), Notify::new());
        Polls { calls, desk, demand, settings, fifo, attributes, state, arrived, ended }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves at the next arrival or end of a poll after this call.
    pub(crate) fn arrived(&self) -> Notified<'_> {
        self.arrived.notified()
    }

    /// For how many messages another poll may ask, 0 for none; or when, after an error.
    pub(crate) fn next(&self, free: usize, now: Instant) -> Result<usize, Instant> {
        let state = self.state();
        if let Some(not_before) = state.not_before.filter(|at| now < *at) {
            return Err(not_before);
        }
        if state.stopped || state.open >= state.target.min(self.settings.pollers) {
            return Ok(0);
        }
        Ok(free.saturating_sub(state.reserved + state.ready.len()))
    }

    pub(crate) fn some_are_open(&self) -> bool {
        self.state().open > 0
    }

    /// One poll for at most so many, counted from the call on.
    pub(crate) fn poll(self: Arc<Self>, messages: usize) -> impl Future<Output = ()> + Send {
        let attempt = {
            let mut state = self.state();
            state.open += 1;
            state.reserved += messages;
            // The same identity again after an answer that was lost: SQS then gives what it gave then.
            self.fifo.then(|| state.attempt.take().unwrap_or_else(identity))
        };
        let open = Open { polls: self, messages };
        async move {
            let polls = &open.polls;
            let ask = Ask {
                messages,
                visibility: polls.desk.visibility,
                attributes: polls.attributes.clone(),
                attempt: attempt.clone(),
            };
            match polls.calls.receive(ask).await {
                Ok(messages) => polls.brought(open.messages, messages),
                Err(error) => polls.failed(&error, attempt),
            }
        }
    }

    fn brought(&self, asked: usize, natives: Vec<Native>) {
        let count = natives.len();
        let deliveries: Vec<_> = natives.into_iter().filter_map(|native| self.delivery(native)).collect();
        let mut state = self.state();
        let was_away = std::mem::take(&mut state.failures) > 0;
        state.was_lost = false;
        state.not_before = None;
        if count >= asked {
            state.target = (state.target * 2).min(self.settings.pollers);
        } else if count == 0 {
            state.target = (state.target / 2).max(1);
        }
        // Nobody is there to handle it, or nobody should: it is given back by being dropped.
        let unwanted = state.stopped || self.demand.phase() != Phase::Flowing;
        let dropped = if unwanted {
            deliveries
        } else {
            state.ready.extend(deliveries);
            Vec::new()
        };
        drop(state);
        drop(dropped);
        let tell = |event: Event<'_>| self.desk.observer.observe(event);
        if was_away {
            tell(Event::Reconnected);
        }
        if count > 0 {
            tell(Event::Received { destination: &self.desk.destination, count });
        }
    }

    fn failed(&self, error: &Error, attempt: Option<String>) {
        let lost = matches!(error.kind(), ErrorKind::Unreachable | ErrorKind::Timeout);
        let mut state = self.state();
        state.target = 1;
        state.was_lost |= lost;
        // A server that comes back may refuse for a while (that a queue does not exist, before it has read what it kept):
        // that it was away for long is no reason to let the first refusal wait long, nor any that follows it.
        let longest = if state.was_lost { LONGEST_AWAY } else { LONGEST_REFUSED };
        if std::mem::replace(&mut state.lost, lost) != lost {
            state.failures = 0;
        }
        let wait = FIRST_WAIT.saturating_mul(1 << state.failures.min(6)).min(longest);
        // Only ever longer than said: no more than one call a second.
        let at = Instant::now() + wait.mul_f64(1.0 + fastrand::f64() / 4.0);
        state.failures += 1;
        state.not_before = Some(state.not_before.map_or(at, |before| before.max(at)));
        // Also after a refusal: what it tried again may have been lost before.
        state.attempt = attempt;
        drop(state);
        self.desk.observer.observe(Event::Reconnecting { error });
    }

    fn delivery(&self, native: Native) -> Option<Delivery<SqsSettler>> {
        let Some(handle) = native.receipt_handle.as_deref().map(Arc::from) else {
            tracing::warn!("a message came without a receipt handle; it cannot be settled and comes again");
            return None;
        };
        let decoded = headers::decode(native, &self.desk.destination, &self.settings);
        let (owner, lease) = Lease::new(Some(self.demand.clone()));
        let Decoded { message, id, group, context } = decoded;
        let group = group.filter(|_| self.fifo);
        let ticket = self.desk.hold(Claim { handle, id: id.clone(), group, context }, owner);
        let settler = SqsSettler::new(self.desk.clone(), ticket, id);
        Some(Delivery { message, settler, lease, partition: PartitionIndex::default() })
    }

    /// What is ready.
    pub(crate) fn take(&self) -> Vec<Delivery<SqsSettler>> {
        std::mem::take(&mut self.state().ready)
    }

    /// Starts nothing more; what is ready and what still comes is given back.
    pub(crate) fn stop(&self) {
        let ready = {
            let mut state = self.state();
            state.stopped = true;
            std::mem::take(&mut state.ready)
        };
        drop(ready);
    }

    /// Waits until no poll is open.
    pub(crate) async fn idle(&self) {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if self.state().open == 0 {
                return;
            }
            ended.await;
        }
    }
}

/// An open poll; also one that panics gives its room back.
struct Open {
    polls: Arc<Polls>,
    messages: usize,
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut state = self.polls.state();
        state.open -= 1;
        state.reserved -= self.messages;
        drop(state);
        self.polls.arrived.notify_one();
        self.polls.ended.notify_waiters();
    }
}

/// At most 128 letters and digits; new for each receive.
fn identity() -> String {
    format!("{:032x}", fastrand::u128(..))
}
