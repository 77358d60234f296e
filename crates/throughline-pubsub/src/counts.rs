//! How often a message was nacked, where the service does not count: it does only for a subscription with a dead-letter
//! policy, and delays and dead letters of the worker's own need to know.

use std::collections::{HashMap, VecDeque};
use throughline_core::ByteString;

/// Messages that are remembered; of more, those that were nacked first are new again.
const REMEMBERED: usize = 10_000;

/// Nacks by message, as far as this source knows them.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    nacks: HashMap<ByteString, u32>,
    /// In the order of their first nack; those that are done since are still in here.
    order: VecDeque<ByteString>,
}

impl Counts {
    /// How often it was delivered, this time included.
    pub(crate) fn delivery(&self, id: &ByteString) -> u32 {
        self.nacks.get(id).map_or(1, |nacks| nacks.saturating_add(1))
    }

    pub(crate) fn nacked(&mut self, id: &ByteString) {
        if let Some(nacks) = self.nacks.get_mut(id) {
            *nacks = nacks.saturating_add(1);
            return;
        }
        while self.order.len() >= REMEMBERED {
            let Some(first) = self.order.pop_front() else { break };
            self.nacks.remove(&first);
        }
        self.nacks.insert(id.clone(), 1);
        self.order.push_back(id.clone());
    }

    pub(crate) fn done(&mut self, id: &ByteString) {
        if self.nacks.remove(id).is_some() && self.nacks.is_empty() {
            self.order.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nacks_are_counted_until_it_is_done_and_not_without_bound() {
        let (mut counts, id) = (Counts::default(), |n: usize| ByteString::from(n.to_string()));
        assert_eq!(counts.delivery(&id(0)), 1);
        counts.nacked(&id(0));
        counts.nacked(&id(0));
        assert_eq!(counts.delivery(&id(0)), 3);
        counts.done(&id(0));
        assert_eq!((counts.delivery(&id(0)), counts.order.len()), (1, 0));
        for n in 0..3 * REMEMBERED {
            counts.nacked(&id(n));
        }
        assert_eq!((counts.nacks.len(), counts.order.len()), (REMEMBERED, REMEMBERED));
        assert_eq!((counts.delivery(&id(0)), counts.delivery(&id(3 * REMEMBERED - 1))), (1, 2));
    }
}
