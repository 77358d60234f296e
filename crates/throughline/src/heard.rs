//! What an adapter says, as far as status and log lines need it.

use crate::control::Control;
use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use throughline_core::{ByteString, Destination, Event, Observe};

/// The state of things at the broker, as last heard.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    last: Mutex<Last>,
    pub(crate) skipped: AtomicU64,
}

#[derive(Clone, Debug, Default)]
struct Last {
    /// What keeps the adapter from its broker.
    outage: Option<String>,
    /// What a partition cannot pass.
    unreadable: Option<String>,
    missing: Vec<ByteString>,
    lag: HashMap<(ByteString, i32), i64>,
}

impl Heard {
    /// The source is gone, and what it said with it.
    pub(crate) fn forget(&self) {
        *self.last() = Last::default();
    }

    /// What keeps the adapter from its broker, or a partition from going on.
    pub(crate) fn trouble(&self) -> Option<String> {
        let last = self.last();
        last.outage.as_ref().or(last.unreadable.as_ref()).cloned()
    }

    /// What keeps the adapter from its broker; `None` if nothing does.
    pub(crate) fn outage(&self) -> Option<String> {
        self.last().outage.clone()
    }

    /// Topics that do not exist.
    pub(crate) fn missing(&self) -> Vec<ByteString> {
        self.last().missing.clone()
    }

    /// Over all partitions; `None` before anything was heard of any.
    pub(crate) fn lag(&self) -> Option<u64> {
        let last = self.last();
        (!last.lag.is_empty()).then(|| last.lag.values().map(|lag| lag.unsigned_abs()).sum())
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the adapter says becomes status and a log line.
impl Observe for Control {
    fn observe(&self, event: Event<'_>) {
        let heard = &self.heard;
        match event {
            // One line for each outage: the adapter says it at every try.
            Event::Reconnecting { error } if heard.last().outage.replace(error.to_string()).is_none() => {
                tracing::warn!(%error, "the broker is away; trying again");
            }
            Event::Reconnected if heard.last().outage.take().is_some() => {
                tracing::info!("the broker is back");
            }
            // One line for each: it is said at every try.
            Event::Unreadable { error } => {
                let text = error.to_string();
                if heard.last().unreadable.replace(text.clone()) != Some(text) {
                    tracing::error!(%error, "records cannot be read");
                }
            }
            Event::Missing { topics } => {
                if !topics.is_empty() {
                    tracing::warn!(?topics, "topics of the subscription do not exist; the others go on");
                }
                heard.last().missing = topics.to_vec();
            }
            Event::LeaseLost { destination, count } => {
                self.counts.lease_lost.fetch_add(count as u64, Ordering::Relaxed);
                tracing::warn!(destination = %destination.name, count, "deliveries are no longer ours");
            }
            Event::Settled(settled) => {
                if let Err(error) = settled.result {
                    self.counts.settle_failed.fetch_add(settled.count as u64, Ordering::Relaxed);
                    tracing::warn!(%error, count = settled.count, "the broker did not take a settlement");
                }
            }
            Event::Skipped { destination, partition, from, to, reason } => {
                let gone = u64::try_from(to - from).unwrap_or(0);
                heard.skipped.fetch_add(gone, Ordering::Relaxed);
                let topic = &*destination.name;
                tracing::warn!(topic, partition, from, to, gone, reason, "offsets skipped");
            }
            Event::Lag { destination, partition, messages } => {
                let mut last = heard.last();
                match last.lag.get_mut(&place(destination, partition)) {
                    Some(lag) => *lag = messages,
                    None => drop(last.lag.insert(place(destination, partition), messages)),
                }
            }
            Event::Rebalanced { assigned, revoked } => {
                tracing::debug!(assigned = assigned.len(), revoked = revoked.len(), "rebalanced");
                let mut last = heard.last();
                for (destination, partition) in revoked {
                    last.lag.remove(&place(destination, *partition));
                }
            }
            _ => {}
        }
        self.changed.notify_waiters();
    }
}

fn place(destination: &Destination, partition: i32) -> (ByteString, i32) {
    (destination.name.clone(), partition)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use throughline_core::{Error, ErrorKind};

    #[test]
    fn lag_is_that_of_the_partitions_we_have() {
        let control = Control::new();
        let topic = Arc::new(Destination::new("kafka", "t"));
        let lag = |partition, messages| {
            control.observe(Event::Lag { destination: &topic, partition, messages });
        };
        assert_eq!(control.heard.lag(), None);
        lag(0, 5);
        lag(1, 7);
        lag(0, 3);
        assert_eq!(control.heard.lag(), Some(10));
        control.observe(Event::Rebalanced { assigned: &[], revoked: &[(topic.clone(), 1)] });
        assert_eq!(control.heard.lag(), Some(3));
        control.heard.forget();
        assert_eq!(control.heard.lag(), None);
    }

    #[test]
    fn an_outage_lasts_until_the_broker_is_back() {
        let control = Control::new();
        let error = Error::new(ErrorKind::Unreachable, "a:1", "check it");
        control.observe(Event::Reconnecting { error: &error });
        control.observe(Event::Reconnecting { error: &error });
        assert!(control.heard.outage().is_some_and(|outage| outage.contains("a:1")));
        control.observe(Event::Reconnected);
        assert_eq!(control.heard.outage(), None);
    }

    #[test]
    fn what_is_skipped_is_counted_and_what_is_gone_back_is_not() {
        let control = Control::new();
        let destination = &Arc::new(Destination::new("kafka", "t"));
        for (from, to) in [(10, 50), (100, 0)] {
            control.observe(Event::Skipped { destination, partition: 0, from, to, reason: "gone" });
        }
        assert_eq!(control.counts().skipped, 40);
    }
}
