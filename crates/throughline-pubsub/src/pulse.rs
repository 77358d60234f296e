//! Signs of life of a stream.
//!
//! The client swallows the server's answers to its keep-alives, so that a stream that died without a word looks like an
//! idle one. But whatever comes wakes the future that waits for the next message: those wakes are listened to. And the
//! client opens a broken stream again by itself, with a wait that grows to a minute: each try asks for credentials, so
//! that is listened to as well.

use google_cloud_auth::{
    credentials::{CacheableResource, Credentials, CredentialsProvider},
    errors::CredentialsError,
};
use http::{Extensions, HeaderMap};
use std::{
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    task::{Context, Wake, Waker},
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// After this long without anything the next sign of life is taken for the answer to a keep-alive, which the client sends
/// every 30 s, and not for a part of a message.
const RESTED: Duration = Duration::from_secs(20);
/// Within this time the rest of a message follows its first part.
const REST_OF_A_MESSAGE: Duration = Duration::from_secs(1);

tokio::task_local! {
    /// The stream that this task waits for.
    static WAITING_FOR: Arc<Pulse>;
}

/// One stream's.
pub(crate) struct Pulse {
    state: Mutex<State>,
    /// How often the client tried to open it.
    tries: AtomicU32,
    pub(crate) tried: Notify,
}

struct State {
    /// Who waits for the stream.
    waker: Option<Waker>,
    /// Nobody reads while the worker has no room.
    reading: bool,
    /// The last sign of life.
    last: Instant,
    /// A sign of life that came after a rest, and no message since.
    answer: Option<Instant>,
    answers_keep_alives: bool,
}

impl Pulse {
    pub(crate) fn new() -> Arc<Self> {
        let state = State {
            waker: None,
            reading: false,
            last: Instant::now(),
            answer: None,
            answers_keep_alives: false,
        };
        Arc::new(Pulse { state: Mutex::new(state), tries: AtomicU32::new(0), tried: Notify::new() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for `next`, which is a future of the stream, and listens. `idle` is called whenever it has to wait.
    pub(crate) async fn listen<F: Future>(self: &Arc<Self>, next: F, mut idle: impl FnMut()) -> F::Output {
        {
            let mut state = self.state();
            (state.reading, state.last) = (true, Instant::now());
        }
        let mut next = pin!(next);
        let heard = Waker::from(self.clone());
        let listening = poll_fn(|cx| {
            self.state().waker = Some(cx.waker().clone());
            let polled = next.as_mut().poll(&mut Context::from_waker(&heard));
            if polled.is_pending() {
                idle();
            }
            polled
        });
        let output = WAITING_FOR.scope(self.clone(), listening).await;
        let mut state = self.state();
        (state.reading, state.answer, state.last) = (false, None, Instant::now());
        output
    }

    /// How often the client tried to open the stream.
    pub(crate) fn tries(&self) -> u32 {
        self.tries.load(Relaxed)
    }

    /// Since when nothing has come; `None` while nobody listens.
    pub(crate) fn silent_since(&self) -> Option<Instant> {
        let state = self.state();
        state.reading.then_some(state.last)
    }

    /// Whether the server was heard to answer a keep-alive.
    pub(crate) fn answers_keep_alives(&self) -> bool {
        let mut state = self.state();
        if state.answer.is_some_and(|at| at.elapsed() >= REST_OF_A_MESSAGE) {
            state.answers_keep_alives = true;
        }
        state.answers_keep_alives
    }

    fn beat(&self) {
        let now = Instant::now();
        let mut state = self.state();
        if now.saturating_duration_since(state.last) >= RESTED {
            state.answer = Some(now);
        }
        state.last = now;
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn tries_to_open(&self) {
        self.tries.fetch_add(1, Relaxed);
        // The wakes of a connection are none of the stream's.
        self.state().last = Instant::now();
        self.tried.notify_one();
    }
}

impl Wake for Pulse {
    fn wake(self: Arc<Self>) {
        self.beat();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.beat();
    }
}

/// Credentials that tell the waiting stream of each try to open it.
#[derive(Debug)]
pub(crate) struct Telltale(pub(crate) Credentials);

impl CredentialsProvider for Telltale {
    async fn headers(
        &self,
        extensions: Extensions,
    ) -> Result<CacheableResource<HeaderMap>, CredentialsError> {
        // Acknowledgements ask too, from tasks of their own.
        let _ = WAITING_FOR.try_with(|pulse| pulse.tries_to_open());
        self.0.headers(extensions).await
    }

    async fn universe_domain(&self) -> Option<String> {
        self.0.universe_domain().await
    }
}

impl fmt::Debug for Pulse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pulse").field("tries", &self.tries()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use tokio::{sync::mpsc, time::advance};

    #[tokio::test(start_paused = true)]
    async fn a_wake_after_a_rest_is_an_answer_unless_a_message_follows() {
        let pulse = Pulse::new();
        for (rest, is_answer) in [(5, false), (30, true)] {
            let (tell, mut heard) = mpsc::unbounded_channel();
            // Wakes once without being ready, as the client does when it swallows an answer.
            let next = async {
                heard.recv().await;
                std::future::pending::<()>().await;
            };
            let mut listening = pin!(pulse.listen(next, || {}));
            assert!((&mut listening).now_or_never().is_none());
            advance(Duration::from_secs(rest)).await;
            let _ = tell.send(());
            assert!((&mut listening).now_or_never().is_none());
            assert!(!pulse.answers_keep_alives(), "the rest of a message may follow");
            advance(REST_OF_A_MESSAGE).await;
            assert_eq!(pulse.answers_keep_alives(), is_answer, "after {rest} s");
            assert_eq!(pulse.silent_since(), Some(Instant::now() - REST_OF_A_MESSAGE));
        }
    }

    #[tokio::test]
    async fn only_who_waits_for_a_stream_tells_of_a_try() {
        let pulse = Pulse::new();
        let told = Telltale(google_cloud_auth::credentials::anonymous::Builder::new().build());
        let ask = || async { told.headers(Extensions::new()).await.is_ok() };
        assert!(ask().await && pulse.tries() == 0);
        assert!(pulse.listen(ask(), || {}).await && pulse.tries() == 1);
        assert_eq!(pulse.silent_since(), None, "nobody listens now");
    }
}
