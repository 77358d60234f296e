//! What comes with time: delays that are over, leases that cannot be kept any longer, keys that are idle.

use super::{Desk, Held, State, now};
use crate::keys::Looked;
use std::{sync::Arc, time::Duration};
use throughline_core::Event;
use tokio::time::{Instant, sleep_until};

/// How often leases and idle keys are looked at.
pub(super) const LOOK: Duration = Duration::from_millis(500);
/// When nothing is to be done: somebody will say so.
const FAR: Duration = Duration::from_secs(3600);

/// Does what is due, until the desk is closed.
pub(crate) async fn keep(desk: Arc<Desk>) {
    loop {
        let work = desk.work.notified();
        let Some(next) = desk.look() else { return };
        tokio::select! {
            () = work => {}
            () = sleep_until(next) => {}
        }
    }
}

impl Desk {
    /// Does what is due; gives when to look again, or `None` at the end.
    fn look(self: &Arc<Self>) -> Option<Instant> {
        let mut state = self.state();
        if state.closed {
            return None;
        }
        let at = Instant::now();
        while let Some((&(due, ticket), _)) = state.delayed.first_key_value()
            && due <= at
        {
            if let Some(id) = state.delayed.remove(&(due, ticket)) {
                self.give_back(&mut state, &id);
            }
        }
        let mut lost = 0;
        if state.next_look.is_some_and(|next| next <= at) {
            let Looked { freed, returned } = state.keys.look(now());
            state.ready.extend(freed);
            for id in returned {
                if let Some(claim) = state.remove(&id) {
                    self.answers.nack(claim, self);
                }
            }
            lost = self.end_leases(&mut state, at);
            let idle = state.held.is_empty() && state.keys.is_empty();
            state.next_look = (!idle).then(|| at + LOOK);
        }
        let due = state.delayed.first_key_value().map(|((due, _), _)| *due);
        let next_look = state.next_look;
        self.tell_others(state);
        if lost > 0 {
            let destination = &self.answers.destination;
            self.answers.observer.observe(Event::LeaseLost { destination, count: lost });
        }
        if self.answers.due().is_some_and(|due| due <= at) {
            self.answers.report();
        }
        Some([due, next_look, self.answers.due()].into_iter().flatten().min().unwrap_or(at + FAR))
    }

    /// Lets go of what the client has ceased to extend.
    fn end_leases(self: &Arc<Self>, state: &mut State, at: Instant) -> usize {
        let is_over = |held: &Held| held.received + self.limits.lease <= at;
        let over: Vec<_> =
            state.held.iter().filter(|(_, held)| is_over(held)).map(|(id, _)| id.clone()).collect();
        for id in &over {
            if let Some(lease) = state.held.get_mut(id).and_then(|held| held.lease.take()) {
                lease.lose();
            }
            self.give_back(state, id);
        }
        over.len()
    }
}
