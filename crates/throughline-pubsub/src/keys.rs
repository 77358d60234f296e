//! Ordering keys: what may be handed over, one at a time and in order, also across a nack.
//!
//! The service hands out whole runs of a key, and after a nack the run again: what was behind the nacked one, sometimes
//! what was acknowledged before it, and on the emulator not strictly in order. So a key remembers in which order its
//! messages came first, which of them were given back and are to come again before the others, and which are done. Free of
//! I/O and tokio.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::{Duration, Instant},
};
use throughline_core::ByteString;

/// How many done messages of a key are remembered.
const DONE: usize = 64;
/// For how long a key that is idle remembers what was done: a run that was nacked comes again within moments.
const LINGER: Duration = Duration::from_secs(5);
/// For how long what is behind a message that is to come again is kept. The emulator delivers the one only when it has the
/// others back; the service has taken them for given back already.
const KEEP: Duration = Duration::from_millis(300);

/// All keys of one source.
#[derive(Debug)]
pub(crate) struct Keys {
    keys: HashMap<ByteString, Key>,
    /// For how long what was given back is waited for.
    patience: Duration,
}

#[derive(Debug)]
struct Key {
    /// The place in the order of its messages: that of the next new one.
    next: u64,
    /// With the worker, on its way there, or held for a delay.
    current: Option<(u64, ByteString)>,
    /// Behind that, in order.
    waiting: BTreeMap<u64, ByteString>,
    /// Given back, and to come again before what is behind them.
    expected: BTreeMap<u64, ByteString>,
    done: VecDeque<ByteString>,
    /// When something happened last.
    touched: Instant,
    /// Since when what comes next is not here.
    blocked: Option<Instant>,
}

/// What becomes of those that waited.
#[derive(Debug, Default)]
pub(crate) struct Looked {
    /// They may be handed over.
    pub(crate) freed: Vec<ByteString>,
    /// They are to be given back.
    pub(crate) returned: Vec<ByteString>,
}

/// What becomes of a message that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// It may be handed over.
    Start,
    /// Others of its key are before it.
    Wait,
    /// It is done already, only the service does not know yet.
    Done,
}

impl Keys {
    pub(crate) fn new(patience: Duration) -> Self {
        Keys { keys: HashMap::new(), patience }
    }

    /// A message came that is not held.
    pub(crate) fn arrived(&mut self, key: &ByteString, id: &ByteString, now: Instant) -> Arrival {
        let key = self.keys.entry(key.clone()).or_insert_with(|| Key::new(now));
        if key.done.contains(id) {
            return Arrival::Done;
        }
        let again = key.expected.iter().find(|(_, known)| *known == id).map(|(place, _)| *place);
        let place = again.unwrap_or(key.next);
        key.expected.remove(&place);
        key.next = key.next.max(place + 1);
        key.touched = now;
        key.waiting.insert(place, id.clone());
        // Others may have waited for this one, but they are behind it.
        if key.start().as_ref() == Some(id) { Arrival::Start } else { Arrival::Wait }
    }

    /// It is done. Gives the next of its key that may be handed over.
    pub(crate) fn done(&mut self, key: &ByteString, id: &ByteString, now: Instant) -> Option<ByteString> {
        let key = self.keys.get_mut(key)?;
        key.touched = now;
        if key.done.len() == DONE {
            key.done.pop_front();
        }
        key.done.push_back(id.clone());
        key.leave(id);
        key.start()
    }

    /// It is given back, and is `expected` to come again. Gives what waits behind it, to be given back too: the service
    /// delivers all of it again.
    pub(crate) fn given_back(
        &mut self,
        key: &ByteString,
        id: &ByteString,
        expected: bool,
        now: Instant,
    ) -> Vec<ByteString> {
        let Some(key) = self.keys.get_mut(key) else { return Vec::new() };
        key.touched = now;
        let Some(place) = key.leave(id) else { return Vec::new() };
        if expected {
            key.expected.insert(place, id.clone());
            key.blocked.get_or_insert(now);
        }
        key.expect_all(place)
    }

    /// Time has passed: forgets keys that are idle, gives back what is behind one that is to come again, and waits no
    /// longer for what does not come (somebody else has it, or it went to the dead letters).
    pub(crate) fn look(&mut self, now: Instant) -> Looked {
        let mut looked = Looked::default();
        let patience = self.patience;
        self.keys.retain(|_, key| {
            let rested = now.saturating_duration_since(key.touched);
            let blocked = key.blocked.map(|since| now.saturating_duration_since(since));
            if key.current.is_none() && blocked.is_some_and(|blocked| blocked >= patience) {
                let first = key.waiting.first_key_value().map_or(u64::MAX, |(place, _)| *place);
                key.expected = key.expected.split_off(&first);
                key.blocked = None;
                key.touched = now;
                looked.freed.extend(key.start());
            } else if key.current.is_none() && !key.waiting.is_empty() && rested >= KEEP {
                key.touched = now;
                looked.returned.extend(key.expect_all(0));
            }
            !(key.is_idle() && rested >= LINGER)
        });
        looked
    }

    /// Whether nothing is remembered.
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

impl Key {
    fn new(now: Instant) -> Self {
        Key {
            next: 0,
            current: None,
            waiting: BTreeMap::new(),
            expected: BTreeMap::new(),
            done: VecDeque::new(),
            touched: now,
            blocked: None,
        }
    }

    /// All that wait from this place on are to come again; gives them.
    fn expect_all(&mut self, from: u64) -> Vec<ByteString> {
        let waiting = self.waiting.split_off(&from);
        let ids = waiting.values().cloned().collect();
        self.expected.extend(waiting);
        ids
    }

    /// Makes the first that waits the current one, if there is none and nothing is to come before it.
    fn start(&mut self) -> Option<ByteString> {
        let (&first, _) = self.waiting.first_key_value()?;
        let is_next = self.expected.first_key_value().is_none_or(|(&expected, _)| first < expected);
        if self.current.is_some() || !is_next {
            return None;
        }
        let id = self.waiting.remove(&first)?;
        self.current = Some((first, id.clone()));
        self.blocked = None;
        Some(id)
    }

    /// Takes out what is current or waits; gives its place.
    fn leave(&mut self, id: &ByteString) -> Option<u64> {
        if let Some((place, _)) = self.current.take_if(|(_, current)| current == id) {
            return Some(place);
        }
        let place = self.waiting.iter().find(|(_, waiting)| *waiting == id).map(|(place, _)| *place)?;
        self.waiting.remove(&place);
        Some(place)
    }

    fn is_idle(&self) -> bool {
        self.current.is_none() && self.waiting.is_empty() && self.expected.is_empty()
    }
}

#[cfg(test)]
mod tests;
