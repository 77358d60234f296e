//! One message under way: who answers it, and who waits for the answer.

use crate::{Destination, Error, ErrorKind, Receipt, sends::Account};
use std::{
    fmt,
    future::Future,
    mem,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

/// A message under way, begun by [`Sends::begin`](crate::Sends::begin). Dropped without an answer, it has failed by a
/// `Closed` error.
#[must_use = "dropped, it has failed"]
pub struct Unconfirmed(Option<Arc<Cell>>);

/// The future of a send: the broker's receipt, or why there is none.
///
/// # Cancel safety
/// The message is under way: dropping the future does not call it back, only its answer is not seen. If it then fails,
/// [`flush`](crate::Endpoint::flush) says so.
#[must_use = "a future says nothing until it is awaited"]
pub struct SendFuture(State);

enum State {
    Failed(Option<Error>),
    Begun(Arc<Cell>),
}

struct Cell {
    account: Arc<Account>,
    destination: Arc<Destination>,
    slot: Mutex<Slot>,
}

enum Slot {
    Waits(Option<Waker>),
    Answered(Result<Receipt, Error>),
    /// The answer was taken, or nobody waits for it.
    Over,
}

impl Unconfirmed {
    pub(crate) fn new(account: Arc<Account>, destination: Arc<Destination>) -> (Self, SendFuture) {
        let cell = Arc::new(Cell { account, destination, slot: Mutex::new(Slot::Waits(None)) });
        (Unconfirmed(Some(cell.clone())), SendFuture(State::Begun(cell)))
    }

    /// Gives the answer. `false` for a failure that nobody is there to hear: only a flush tells of it.
    pub fn answer(mut self, answer: Result<Receipt, Error>) -> bool {
        self.0.take().is_some_and(|cell| cell.answer(answer))
    }
}

impl Drop for Unconfirmed {
    fn drop(&mut self) {
        if let Some(cell) = self.0.take() {
            let remedy = "the client was closed before the broker confirmed";
            let error = Error::new(ErrorKind::Closed, &*cell.destination.name, remedy);
            cell.answer(Err(error));
        }
    }
}

impl SendFuture {
    /// One that never began.
    pub fn failed(error: Error) -> Self {
        SendFuture(State::Failed(Some(error)))
    }

    /// One of a sink that was called before it was ready: Tower's contract lets that panic, and here it is answered.
    pub fn unready(destination: &Destination) -> Self {
        let remedy = "the sink was called before it was ready";
        SendFuture::failed(Error::new(ErrorKind::Config, &*destination.name, remedy))
    }
}

impl Future for SendFuture {
    type Output = Result<Receipt, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answered = || Error::new(ErrorKind::Closed, "send", "this future has already answered");
        match &mut self.0 {
            State::Failed(error) => Poll::Ready(Err(error.take().unwrap_or_else(answered))),
            State::Begun(cell) => {
                let mut slot = cell.slot();
                match mem::replace(&mut *slot, Slot::Over) {
                    Slot::Answered(answer) => Poll::Ready(answer),
                    Slot::Over => Poll::Ready(Err(answered())),
                    Slot::Waits(known) => {
                        let waker = known.filter(|known| known.will_wake(cx.waker()));
                        *slot = Slot::Waits(waker.or_else(|| Some(cx.waker().clone())));
                        Poll::Pending
                    }
                }
            }
        }
    }
}

impl Drop for SendFuture {
    fn drop(&mut self) {
        if let State::Begun(cell) = &self.0 {
            let was = mem::replace(&mut *cell.slot(), Slot::Over);
            if let Slot::Answered(Err(_)) = was {
                cell.account.unheard();
            }
        }
    }
}

impl Cell {
    fn answer(&self, answer: Result<Receipt, Error>) -> bool {
        let failed = answer.is_err();
        if failed {
            self.account.failed();
        }
        let mut slot = self.slot();
        let waits = match &mut *slot {
            Slot::Waits(waker) => Some(waker.take()),
            Slot::Answered(_) | Slot::Over => None,
        };
        let heard = waits.is_some();
        if heard {
            *slot = Slot::Answered(answer);
        }
        drop(slot);
        if let Some(waker) = waits.flatten() {
            waker.wake();
        }
        if failed && !heard {
            self.account.unheard();
        }
        self.account.answered();
        heard || !failed
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Unconfirmed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unconfirmed")
    }
}

impl fmt::Debug for SendFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SendFuture")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sends;
    use futures_util::{future::FutureExt, task::noop_waker};

    #[test]
    fn what_is_dropped_has_failed_and_an_answer_is_given_once() {
        let destination = Arc::new(Destination::new("memory", "orders"));
        let sends = Sends::default();
        let (unconfirmed, mut future) = sends.begin(&destination);
        drop(unconfirmed);
        let mut poll = || Pin::new(&mut future).poll(&mut Context::from_waker(&noop_waker()));
        for told in ["the client was closed", "already answered"] {
            match poll() {
                Poll::Ready(Err(error)) => {
                    assert!(error.kind() == ErrorKind::Closed && error.to_string().contains(told), "{error}");
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(sends.flush(&destination).now_or_never().unwrap().is_ok(), "it was heard");
        let mut unready = SendFuture::unready(&destination);
        let error = (&mut unready).now_or_never().unwrap().unwrap_err();
        assert_eq!((error.kind(), error.resource()), (ErrorKind::Config, "orders"));
        assert!(unready.now_or_never().unwrap().is_err());
    }
}
