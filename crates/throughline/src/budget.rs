//! What a loop may do in one poll, by count and by clock.

use std::time::{Duration, Instant};

/// Messages started or finished in one poll before the task yields. A self-wake on a multi-thread runtime costs a
/// futex and perhaps a migration; 512 was measured to be 8 % cheaper than 128.
const BUDGET: usize = 512;

/// For how long one poll goes on: handlers with much to compute must not keep the timers of the others waiting.
const SLICE: Duration = Duration::from_millis(5);

/// After how many messages the clock is looked at.
const LOOK: usize = 32;

/// What is left of one poll.
pub(crate) struct Budget {
    messages: usize,
    since: Instant,
}

impl Budget {
    pub(crate) fn new() -> Self {
        Budget { messages: BUDGET, since: Instant::now() }
    }

    pub(crate) fn left(&self) -> bool {
        self.messages > 0
    }

    /// How many messages may still be started or finished.
    pub(crate) fn messages(&self) -> usize {
        self.messages
    }

    #[inline]
    pub(crate) fn spend(&mut self, messages: usize) {
        let before = self.messages / LOOK;
        self.messages = self.messages.saturating_sub(messages);
        if self.messages / LOOK != before && self.since.elapsed() >= SLICE {
            self.messages = 0;
        }
    }
}
