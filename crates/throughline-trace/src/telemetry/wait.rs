//! Blocking work on threads of its own.

use opentelemetry_sdk::error::OTelSdkResult;
use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, mpsc},
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};
use throughline_core::{Error, ErrorKind};

/// The result of `work`, unless it takes longer than this.
pub(super) fn blocking(
    within: Duration,
    work: impl FnOnce() -> OTelSdkResult + Send + 'static,
) -> Option<OTelSdkResult> {
    let (done, result) = mpsc::sync_channel(1);
    let thread = thread::Builder::new().name("throughline-telemetry".into());
    // The receiver may have given up; a thread that could not be started drops the sender, which ends the wait.
    let _ = thread.spawn(move || done.send(work()));
    result.recv_timeout(within).ok()
}

/// Resolves with the result of `work`.
pub(super) fn off_thread(work: impl FnOnce() -> Result<(), Error> + Send + 'static) -> OffThread {
    let shared = Arc::new(Mutex::new(Shared::default()));
    let theirs = Answer(shared.clone());
    let thread = thread::Builder::new().name("throughline-telemetry".into());
    let _ = thread.spawn(move || {
        let result = work();
        theirs.0.lock().unwrap_or_else(PoisonError::into_inner).result = Some(result);
        drop(theirs);
    });
    OffThread(shared)
}

/// The future of [`off_thread`].
pub(super) struct OffThread(Arc<Mutex<Shared>>);

#[derive(Default)]
struct Shared {
    result: Option<Result<(), Error>>,
    waker: Option<Waker>,
    over: bool,
}

/// Says that the thread is over, also if it could not be started.
struct Answer(Arc<Mutex<Shared>>);

impl Drop for Answer {
    fn drop(&mut self) {
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shared.over = true;
        if let Some(waker) = shared.waker.take() {
            waker.wake();
        }
    }
}

impl Future for OffThread {
    type Output = Result<(), Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match shared.result.take() {
            Some(result) => Poll::Ready(result),
            None if shared.over => {
                let remedy = "the thread for it could not be started";
                Poll::Ready(Err(Error::new(ErrorKind::Closed, "telemetry", remedy)))
            }
            None => {
                shared.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}
