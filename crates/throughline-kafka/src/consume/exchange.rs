//! The meeting point of an async source and its poll thread: at most one batch lies here.
//!
//! Neither side waits for the other while it holds the lock, and a dropped `receive` future loses nothing: its batch
//! stays here for the next one.

use crate::KafkaSettler;
use std::{
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    task::{Context, Poll, Waker},
    thread::Thread,
    time::Instant,
};
use throughline_core::{Delivery, Demand, Error, ErrorKind};
use tokio::sync::oneshot;

/// How a close ends.
pub(crate) type Closed = oneshot::Sender<Result<(), Error>>;

#[derive(Default)]
pub(crate) struct Exchange {
    state: Mutex<State>,
    thread: OnceLock<Thread>,
}

#[derive(Default)]
struct State {
    /// The source waits for a batch.
    wanted: bool,
    answer: Option<Vec<Delivery<KafkaSettler>>>,
    /// What ended the source; told once, after the last batch.
    failure: Option<Error>,
    /// Nothing more will come.
    ended: bool,
    close: Option<Instant>,
    /// Nothing more is committed.
    abandoned: bool,
    closed: Option<Closed>,
    waker: Option<Waker>,
}

// === the source's side ===

impl Exchange {
    /// Asks for a batch and takes it if it is there. Empty only if the worker ends.
    pub(crate) fn poll_receive(
        &self,
        demand: &Demand,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Vec<Delivery<KafkaSettler>>, Error>> {
        let mut state = self.state();
        if let Some(batch) = state.answer.take() {
            return Poll::Ready(Ok(batch));
        }
        if let Some(failure) = state.failure.take() {
            return Poll::Ready(Err(failure));
        }
        if state.ended {
            let remedy = "the poll thread of this source is gone; subscribe anew";
            return Poll::Ready(Err(Error::new(ErrorKind::Closed, "kafka", remedy)));
        }
        if demand.stopping() {
            // Whatever the thread has read meanwhile was never handed over and is read again by the next owner.
            state.wanted = false;
            return Poll::Ready(Ok(Vec::new()));
        }
        if !state.waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            state.waker = Some(cx.waker().clone());
        }
        if !std::mem::replace(&mut state.wanted, true) {
            drop(state);
            self.unpark();
        }
        Poll::Pending
    }

    /// Asks the thread to commit what is done and to leave by the deadline. Answered through `closed`, if given.
    pub(crate) fn close(&self, deadline: Instant, closed: Option<Closed>) {
        let mut state = self.state();
        state.close = Some(state.close.map_or(deadline, |earlier| earlier.min(deadline)));
        state.wanted = false;
        state.closed = closed.or(state.closed.take());
        drop(state);
        self.unpark();
    }

    /// Asks the thread to leave by the deadline and to commit nothing more.
    pub(crate) fn abandon(&self, deadline: Instant) {
        self.state().abandoned = true;
        self.close(deadline, None);
    }

    fn unpark(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

// === the thread's side ===

impl Exchange {
    /// Said once by the thread itself, before anything else.
    pub(crate) fn enter(&self) {
        let _ = self.thread.set(std::thread::current());
    }

    pub(crate) fn wanted(&self) -> bool {
        self.state().wanted
    }

    /// Hands a batch over.
    pub(crate) fn answer(&self, batch: Vec<Delivery<KafkaSettler>>) {
        let mut state = self.state();
        state.wanted = false;
        // If nobody waits any more (the worker ends) it stays here until the source is closed.
        state.answer = Some(batch);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Ends the source with an error.
    pub(crate) fn fail(&self, error: Error) {
        let mut state = self.state();
        state.failure.get_or_insert(error);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// What ended the source, if nobody was told yet.
    pub(crate) fn failure(&self) -> Option<Error> {
        self.state().failure.take()
    }

    /// By when to be gone, if the source was closed.
    pub(crate) fn closing(&self) -> Option<Instant> {
        self.state().close
    }

    pub(crate) fn abandoned(&self) -> bool {
        self.state().abandoned
    }

    /// Drops a batch that nobody took.
    pub(crate) fn take_back(&self) {
        let batch = self.state().answer.take();
        drop(batch);
    }

    /// The last word of the thread.
    pub(crate) fn end(&self, result: Option<Result<(), Error>>) {
        let mut state = self.state();
        state.ended = true;
        let (waker, closed) = (state.waker.take(), state.closed.take());
        drop(state);
        if let (Some(closed), Some(result)) = (closed, result) {
            let _ = closed.send(result);
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
