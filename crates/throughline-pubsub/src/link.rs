//! Whether the server is there: what is said of it, and how long to wait before it is tried again.

use crate::ask::{Asking, Found};
use std::time::Duration;
use throughline_core::{Error, ErrorKind, Event, Observer};
use tokio::time::Instant;

/// The first wait after an error; then it doubles.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait where nobody answered: a server that is back is found soon.
const LONGEST_AWAY: Duration = Duration::from_secs(3);
/// The longest wait after a refusal.
const LONGEST_REFUSED: Duration = Duration::from_secs(8);

/// One source's.
pub(crate) struct Link {
    asking: Asking,
    observer: Observer,
    away: bool,
    /// A stream was refused: that the subscription is there does not make the next one better.
    refused: bool,
    failures: u32,
    not_before: Option<Instant>,
}

impl Link {
    pub(crate) fn new(asking: Asking, observer: Observer) -> Self {
        Link { asking, observer, away: false, refused: false, failures: 0, not_before: None }
    }

    /// Whether it was away when it was last heard of.
    pub(crate) fn is_away(&self) -> bool {
        self.away
    }

    /// When it may be tried again.
    pub(crate) fn not_before(&self) -> Option<Instant> {
        self.not_before
    }

    /// It failed, or was found dead.
    pub(crate) fn lost(&mut self, error: &Error) {
        let is_gone = matches!(error.kind(), ErrorKind::Unreachable | ErrorKind::Timeout);
        let longest = if is_gone { LONGEST_AWAY } else { LONGEST_REFUSED };
        let wait = FIRST_WAIT.saturating_mul(1 << self.failures.min(6)).min(longest);
        self.away = true;
        self.refused = !is_gone;
        self.failures += 1;
        self.not_before = Some(Instant::now() + wait.mul_f64(1.0 + fastrand::f64() / 4.0));
        self.observer.observe(Event::Reconnecting { error });
    }

    /// It is there.
    pub(crate) fn found(&mut self) {
        (self.failures, self.refused, self.not_before) = (0, false, None);
        if std::mem::take(&mut self.away) {
            self.observer.observe(Event::Reconnected);
        }
    }

    /// Asks whether it is there, and says so or why not.
    pub(crate) async fn ask(&mut self) -> Found {
        let found = self.asking.ask().await;
        match &found {
            Found::There(_) if !self.refused => self.found(),
            Found::There(_) => self.not_before = None,
            Found::Away(error) => self.lost(error),
            Found::Unknown => {}
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::Connector;
    use std::sync::Arc;

    #[tokio::test(start_paused = true)]
    async fn who_refuses_is_asked_less_often_and_never_too_often() {
        let connector = Connector::without_credentials("http://127.0.0.1:1".to_owned());
        let mut link = Link::new(Asking::new(connector, "s".to_owned()), Arc::new(()));
        for (kind, longest) in [(ErrorKind::NotFound, 10), (ErrorKind::Unreachable, 4)] {
            let (began, mut tries) = (Instant::now(), 0);
            while began.elapsed() < Duration::from_secs(30) {
                link.lost(&Error::new(kind, "s", ""));
                tries += 1;
                let wait = link.not_before().unwrap() - Instant::now();
                assert!(wait <= Duration::from_secs(longest), "{kind:?}: {wait:?}");
                tokio::time::advance(wait).await;
            }
            assert!(tries <= 15, "{kind:?}: {tries} in 30 s");
            link.found();
            assert!(!link.is_away() && link.not_before().is_none());
        }
    }
}
