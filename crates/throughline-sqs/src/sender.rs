//! Collects what is sent to one queue into batches.
//!
//! A message goes at once when nothing else is under way, so that one alone does not wait; else as soon as there are ten,
//! or a mebibyte, or it has waited for 5 ms.

use crate::{
    Sqs,
    calls::{Answered, Calls},
    encode::{Encoded, MOST_BYTES},
    errors,
    owed::BATCH,
};
use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use throughline_core::{Destination, Error, ErrorKind, Receipt, Request, SendFuture, Sends, Unconfirmed};
use tokio::{
    runtime::Handle,
    sync::{Notify, OnceCell, OwnedSemaphorePermit},
    task::JoinSet,
    time::{Instant, sleep_until},
};

/// How long a message waits for others at most.
const LINGER: Duration = Duration::from_millis(5);
/// Calls under way at once. A FIFO queue has one, since two could overtake each other.
const CALLS: usize = 16;

/// What the clones of one sink share.
pub(crate) struct Sender {
    sqs: Sqs,
    queue: String,
    calls: OnceCell<Calls>,
    /// Calls under way at once.
    most: usize,
    state: Mutex<State>,
    more: Notify,
    pub(crate) sends: Sends,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    driven: bool,
}

struct Waiting {
    encoded: Encoded,
    size: usize,
    since: Instant,
    unconfirmed: Unconfirmed,
    /// Its place among what may be open.
    _place: OwnedSemaphorePermit,
}

impl Sender {
    pub(crate) fn new(sqs: Sqs, queue: String, fifo: bool) -> Self {
        let most = if fifo { 1 } else { CALLS };
        Sender {
            sqs,
            queue,
            calls: OnceCell::new(),
            most,
            state: Mutex::default(),
            more: Notify::new(),
            sends: Sends::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a message over.
    ///
    /// # Errors
    /// `Config` outside a tokio runtime: there is nobody to send it.
    pub(crate) fn send(
        self: &Arc<Self>,
        encoded: Encoded,
        place: OwnedSemaphorePermit,
        destination: &Arc<Destination>,
    ) -> Result<SendFuture, Error> {
        let handle = Handle::try_current().map_err(|error| {
            Error::new(ErrorKind::Config, &*self.queue, "send from within a tokio runtime").with_source(error)
        })?;
        let (unconfirmed, future) = self.sends.begin(destination);
        let size = encoded.size();
        let mut state = self.state();
        state.waiting.push_back(Waiting { encoded, size, since: Instant::now(), unconfirmed, _place: place });
        if !std::mem::replace(&mut state.driven, true) {
            drop(state);
            handle.spawn(drive(Driving { sender: self.clone(), ended: false }));
        } else {
            // The driver has a time for the first that waits; a full batch need not wait for it.
            let full = state.waiting.len() >= BATCH;
            drop(state);
            if full {
                self.more.notify_one();
            }
        }
        Ok(future)
    }

    /// The next batch, if one is due; else when one is.
    fn next(&self, under_way: usize) -> Next {
        let mut state = self.state();
        let Some(first) = state.waiting.front() else {
            state.driven = under_way > 0;
            return if under_way > 0 { Next::Nothing } else { Next::End };
        };
        if under_way >= self.most {
            return Next::Nothing;
        }
        let due = first.since + LINGER;
        let (mut count, mut size) = (0, 0);
        for waiting in state.waiting.iter().take(BATCH) {
            if count > 0 && size + waiting.size > MOST_BYTES {
                break;
            }
            size += waiting.size;
            count += 1;
        }
        let full = count == BATCH || count < state.waiting.len();
        if full || under_way == 0 || due <= Instant::now() {
            Next::Batch(state.waiting.drain(..count).collect())
        } else {
            Next::At(due)
        }
    }

    /// A call that is refused for what is in it is made again for each of its messages alone: only the one that SQS does not
    /// take is to fail.
    async fn call(&self, batch: Vec<Waiting>) {
        let mut entries = Vec::with_capacity(batch.len());
        let mut answers = Vec::with_capacity(batch.len());
        for (place, waiting) in batch.into_iter().enumerate() {
            entries.extend(waiting.encoded.entry(place));
            answers.push(Some((waiting.unconfirmed, waiting._place)));
        }
        let open = || Calls::open(&self.sqs, &self.queue, Duration::ZERO);
        let result = match self.calls.get_or_try_init(open).await {
            Ok(calls) if entries.len() > 1 => match calls.send(entries.clone()).await {
                Err(error) if is_about_one(&error) => Ok(singly(calls, entries).await),
                result => result,
            },
            Ok(calls) => calls.send(entries).await,
            Err(error) => Err(error),
        };
        let mut answer = |at: usize, result: Result<Receipt, Error>| {
            if let Some((unconfirmed, _place)) = answers.get_mut(at).and_then(Option::take) {
                unconfirmed.answer(result);
            }
        };
        match result {
            Ok((sent, answered)) => {
                let request = Arc::new(self.request(answered.request_id));
                let receipt = |id: String| {
                    let mut receipt = Receipt::with_id(id);
                    receipt.request = Some(request.clone());
                    receipt
                };
                sent.into_iter().for_each(|(at, id)| answer(at, Ok(receipt(id))));
                answered.failures.into_iter().for_each(|(at, error)| answer(at, Err(error)));
                let silent = || {
                    Error::new(
                        ErrorKind::Broker,
                        &*self.queue,
                        "`SendMessageBatch` did not say what became of it",
                    )
                };
                (0..BATCH).for_each(|at| answer(at, Err(silent())));
            }
            Err(error) => (0..BATCH).for_each(|at| answer(at, Err(errors::again(&error)))),
        }
    }

    /// With the URL where the queue was given by its name, so that nobody knew it before.
    fn request(&self, id: Option<String>) -> Request {
        let mut request = Request::with_id(id);
        let found = self.calls.get().map(Calls::url).filter(|url| *url != self.queue);
        request.url = found.map(Into::into);
        request
    }
}

type Sent = (Vec<(usize, String)>, Answered);

/// Whether a call was refused for what is in one of its entries.
fn is_about_one(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Config | ErrorKind::TooLarge | ErrorKind::Unrepresentable)
}

async fn singly(calls: &Calls, entries: Vec<SendMessageBatchRequestEntry>) -> Sent {
    let (mut sent, mut all) = (Vec::new(), Answered { failures: Vec::new(), request_id: None });
    for entry in entries {
        let place = entry.id().parse().unwrap_or_default();
        match calls.send(vec![entry]).await {
            Ok((one, answered)) => {
                sent.extend(one);
                all.failures.extend(answered.failures);
                all.request_id = answered.request_id.or(all.request_id);
            }
            Err(error) => all.failures.push((place, error)),
        }
    }
    (sent, all)
}

enum Next {
    Batch(Vec<Waiting>),
    At(Instant),
    /// Until a call has ended.
    Nothing,
    End,
}

/// Lets the next send start a driver, also if this one panics or its runtime ends.
struct Driving {
    sender: Arc<Sender>,
    /// It came to its end, and another one may be at work already.
    ended: bool,
}

impl Drop for Driving {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let lost = {
            let mut state = self.sender.state();
            state.driven = false;
            std::mem::take(&mut state.waiting)
        };
        // Which tells their callers that nobody sends them any more.
        drop(lost);
    }
}

/// Sends until nothing is left.
async fn drive(mut driving: Driving) {
    let sender = driving.sender.clone();
    let mut under_way = JoinSet::new();
    // Whoever sends many sends them in one go: let them.
    tokio::task::yield_now().await;
    loop {
        let more = sender.more.notified();
        let at = match sender.next(under_way.len()) {
            Next::End => {
                driving.ended = true;
                return;
            }
            Next::Batch(batch) => {
                let sender = sender.clone();
                under_way.spawn(async move { sender.call(batch).await });
                continue;
            }
            Next::At(at) => Some(at),
            Next::Nothing => None,
        };
        tokio::select! {
            () = more => {}
            Some(_) = under_way.join_next() => {}
            () = sleep_until(at.unwrap_or_else(Instant::now)), if at.is_some() => {}
        }
    }
}
