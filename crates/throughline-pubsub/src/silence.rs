//! When a stream is silent for too long.

use crate::pulse::Pulse;
use std::time::Duration;
use tokio::time::Instant;

/// A server that answers keep-alives, which the client sends every 30 s, says something within this time.
pub(crate) const SILENCE: Duration = Duration::from_secs(45);
/// How often at most a stream is opened anew for its silence where the server was never heard to answer one.
const SELDOM: Duration = Duration::from_secs(300);

/// What a source knows of its server's answers.
#[derive(Debug, Default)]
pub(crate) struct Silence {
    /// When a stream was last left for it.
    left: Option<Instant>,
    answers_keep_alives: bool,
}

impl Silence {
    /// Whether this stream has to be opened anew, which is then taken for done.
    pub(crate) fn is_too_long(&mut self, pulse: &Pulse) -> bool {
        self.answers_keep_alives |= pulse.answers_keep_alives();
        let now = Instant::now();
        let is_silent = pulse.silent_since().is_some_and(|since| now - since >= SILENCE);
        let is_early = !self.answers_keep_alives && self.left.is_some_and(|left| now - left < SELDOM);
        if is_silent && !is_early {
            self.left = Some(now);
        }
        is_silent && !is_early
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use std::{future::pending, pin::pin};
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn on_a_server_that_answers_nothing_an_idle_stream_is_left_seldom() {
        for (answers_keep_alives, left) in [(true, 13), (false, 2)] {
            let mut silence = Silence { answers_keep_alives, ..Silence::default() };
            let mut count = 0;
            for _ in 0..13 {
                let pulse = Pulse::new();
                let mut listening = pin!(pulse.listen(pending::<()>(), || {}));
                assert!((&mut listening).now_or_never().is_none());
                assert!(!silence.is_too_long(&pulse), "it has just begun");
                advance(SILENCE).await;
                count += usize::from(silence.is_too_long(&pulse));
            }
            assert_eq!(count, left, "in ten minutes");
        }
    }
}
