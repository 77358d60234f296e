//! Faults that a test injects.

use throughline_core::Error;

/// Where a [`Fault`] strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The next `subscribe`, which is a (re)start of a worker.
    Subscribe,
    /// The next look of a source for messages; one that waits is woken for it.
    Receive,
    /// The next send.
    Send,
}

/// A fault to inject with [`Memory::fail`](crate::Memory::fail): what happens, how often, and to which topic.
#[derive(Debug)]
pub struct Fault {
    strike: Strike,
    times: usize,
    topic: Option<String>,
}

/// What a fault does.
#[derive(Debug)]
pub(crate) enum Strike {
    Error(Error),
    Panic,
    Hold,
}

impl Fault {
    /// The call answers this error, and has done nothing. Repeated, its `source` is only in the last one.
    pub fn error(error: Error) -> Self {
        Fault { strike: Strike::Error(error), times: 1, topic: None }
    }

    /// The call panics.
    pub fn panic() -> Self {
        Fault { strike: Strike::Panic, times: 1, topic: None }
    }

    /// The send stays pending, and its message unpublished, until [`Memory::release`](crate::Memory::release). At any
    /// other place it has no effect.
    pub fn hold() -> Self {
        Fault { strike: Strike::Hold, times: 1, topic: None }
    }

    /// How many calls it strikes; 1 if not said.
    #[must_use]
    pub fn times(mut self, calls: usize) -> Self {
        self.times = calls;
        self
    }

    /// Strikes only calls for this topic.
    #[must_use]
    pub fn topic(mut self, name: impl Into<String>) -> Self {
        self.topic = Some(name.into());
        self
    }
}

/// The faults that did not strike yet.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<(At, Fault)>);

impl Faults {
    pub(crate) fn add(&mut self, at: At, fault: Fault) {
        if fault.times > 0 {
            self.0.push((at, fault));
        }
    }

    /// The oldest fault for a call at this place that concerns one of `topics`.
    pub(crate) fn strike<'a>(
        &mut self,
        at: At,
        topics: impl Iterator<Item = &'a str> + Clone,
    ) -> Option<Strike> {
        if self.0.is_empty() {
            return None;
        }
        let concerned = |(place, fault): &(At, Fault)| {
            *place == at && fault.topic.as_ref().is_none_or(|topic| topics.clone().any(|name| name == topic))
        };
        let found = self.0.iter().position(concerned)?;
        let fault = &mut self.0[found].1;
        fault.times -= 1;
        if fault.times == 0 {
            return Some(self.0.remove(found).1.strike);
        }
        Some(match &fault.strike {
            Strike::Error(e) => Strike::Error(Error::new(e.kind(), e.resource(), e.remedy())),
            Strike::Panic => Strike::Panic,
            Strike::Hold => Strike::Hold,
        })
    }
}

/// What [`Fault::panic`](crate::Fault::panic) asked for.
#[expect(clippy::panic, reason = "a test asked for it")]
pub(crate) fn injected_panic() -> ! {
    panic!("injected by Memory::fail")
}
