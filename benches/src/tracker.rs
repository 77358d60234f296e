//! B12: Kafka's tracker of offsets with 10,000 messages out that are settled in any order.
//!
//! Its module is compiled here as it stands: it is no part of what `throughline-kafka` shows, and has no I/O.

// The runner of this library's own tests would bring the module's tests along: `test = false` in Cargo.toml.
#[allow(dead_code, reason = "the bench needs a part of it")]
#[path = "../../crates/throughline-kafka/src/consume/offsets.rs"]
mod offsets;

use offsets::{Ticket, Tracker};
use std::hint::black_box;

/// How many are out at a time.
pub const OUT: usize = 10_000;

/// A partition whose next 10,000 messages are delivered, and then settled in an order that is drawn once.
#[derive(Debug)]
pub struct OutOfOrder {
    tracker: Tracker,
    /// `order[n]` is which of them is settled as the n-th.
    order: Vec<usize>,
    tickets: Vec<Ticket>,
    next: i64,
}

impl Default for OutOfOrder {
    fn default() -> Self {
        let mut tracker = Tracker::new();
        tracker.assign();
        let mut order: Vec<usize> = (0..OUT).collect();
        fastrand::Rng::with_seed(12).shuffle(&mut order);
        OutOfOrder { tracker, order, tickets: Vec::with_capacity(OUT), next: 0 }
    }
}

impl OutOfOrder {
    /// Delivers the next 10,000; says how many there were, each once.
    pub fn deliver(&mut self) -> usize {
        self.tickets.clear();
        self.tickets.extend((self.next..).take(OUT).filter_map(|offset| self.tracker.deliver(offset).ok()));
        self.next += OUT as i64;
        self.tickets.len()
    }

    /// Settles them all; says up to where may be committed then.
    pub fn settle(&mut self) -> Option<i64> {
        for at in &self.order {
            if let Some(ticket) = self.tickets.get(*at) {
                black_box(self.tracker.complete(*ticket));
            }
        }
        self.tracker.lowest_open()
    }
}
