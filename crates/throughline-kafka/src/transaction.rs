//! `TransactionLayer`: what a batch's handler sends, and that the batch is done, become visible together or not at all.

use crate::consume::{partitions::Span, transactional::Owned};
use bytes::Bytes;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};
use throughline_core::{
    Answers, Batch, BoxError, Destination, Error, ErrorKind, IntoAnswers, Message, Place, Receipt,
    SendFuture, Sends, Settlement,
};
use tokio::{runtime::Handle, sync::OwnedMutexGuard, task::JoinError};
use tower_layer::Layer;
use tower_service::Service;

/// Runs each batch in a transaction of its partition's producer, which its handler sends through by [`Transaction`].
///
/// If the whole batch is acknowledged, what was sent and the group's offset are committed as one. Anything else aborts
/// the transaction, and the batch comes again: one of several messages is nacked as a whole and comes in smaller ones, so
/// that a message that is rejected is found and is then alone. Dead letters are the worker's, sent outside of the
/// transaction once it is aborted: at least once. A send that failed aborts too, whether the handler looked or not.
///
/// A retry goes around this layer, so that each try has a transaction of its own; below it, the second try is refused. So is
/// a batch handler that takes the transaction twice.
///
/// What came again although it was committed (a time-out around this layer, while it committed) is acknowledged without
/// a call.
///
/// # Errors
/// `Config` for a batch that is not a run of one partition of a subscription with
/// [`exactly_once`](crate::KafkaSubscription::exactly_once), `LeaseLost` if the partition moved meanwhile, `Fenced` if
/// another producer took over its identity, `Timeout` if the outcome stayed unknown for a minute. Where the last two meet
/// a partition that still is this member's, they end its source: after `Timeout` with just that, after `Fenced` with
/// `LeaseLost`, since another took one partition over and not this member's identity. From both a worker connects anew.
///
/// # Cancel safety
/// A call that is dropped aborts, unless the commit has begun: that goes on, and the next batch waits for it.
#[derive(Clone, Copy, Debug, Default)]
pub struct TransactionLayer;

/// The service of [`TransactionLayer`].
#[derive(Clone, Copy, Debug)]
pub struct Transacted<S>(S);

/// The transaction of a batch: a handler takes it beside its messages, and sends what [`of`](Self::of) marks.
///
/// ```no_run
/// # use throughline_core::{BoxError, Message};
/// # use throughline_kafka::{Kafka, Transaction};
/// # async fn send(_: Message) -> Result<(), BoxError> { Ok(()) }
/// // Of `Publisher::new(sink)`, whose spans and layers are as ever.
/// let sink = Kafka::new("127.0.0.1:9092").topic("doubles").in_transactions();
/// # drop(sink);
/// async fn double(transaction: Transaction) -> Result<(), BoxError> {
///     send(transaction.of(Message::new("2"))).await
/// }
/// # drop(double);
/// ```
#[derive(Clone)]
pub struct Transaction(Option<Arc<Running>>);

struct Running {
    owned: Arc<Owned>,
    sends: Sends,
    /// Begun, and not yet at its end: what is sent later belongs to no transaction.
    open: Mutex<bool>,
    claimed: AtomicBool,
}

impl<S> Layer<S> for TransactionLayer {
    type Service = Transacted<S>;

    fn layer(&self, inner: S) -> Transacted<S> {
        Transacted(inner)
    }
}

impl<S> Service<Batch> for Transacted<S>
where
    S: Service<Batch>,
    S::Response: IntoAnswers,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    type Response = Answers;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Answers, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut batch: Batch) -> Self::Future {
        let running = match Running::of(&batch) {
            Ok(running) => running,
            Err(error) => return Box::pin(std::future::ready(Err(error.into()))),
        };
        let offsets: Vec<i64> = batch.iter().map(offset).collect();
        // Free but for what the batch before left to be aborted: then it begins a little later.
        let turn = running.owned.by.turn.clone();
        let begun = turn.clone().try_lock_owned().ok().map(|turn| running.begin(turn, &offsets));
        if let Some(Ok(None)) = begun {
            return Box::pin(std::future::ready(Ok(Answers::ack())));
        }
        let contexts =
            batch.iter().filter_map(|message| message.headers().get("traceparent").cloned()).collect();
        batch.extensions_mut().insert(Transaction(Some(running.clone())));
        let work = self.0.call(batch);
        Box::pin(async move {
            let begun = match begun {
                Some(begun) => begun?,
                None => running.begin(turn.lock_owned().await, &offsets)?,
            };
            let Some(guard) = begun else { return Ok(Answers::ack()) };
            let answers = work.await.map_err(Into::into).and_then(IntoAnswers::into_answers);
            guard.end(answers, &offsets, contexts).await
        })
    }
}

impl Running {
    fn of(batch: &Batch) -> Result<Arc<Self>, Error> {
        let owned = |message: &Message| message.extensions().get::<Arc<Owned>>().cloned();
        let first = batch.first().and_then(owned).ok_or_else(|| {
            let remedy = "a transaction is for what a subscription with `.exactly_once(..)` delivers";
            Error::new(ErrorKind::Config, "transaction", remedy)
        })?;
        if !batch.iter().all(|message| owned(message).is_some_and(|owned| Arc::ptr_eq(&owned, &first))) {
            return Err(not_a_run(&first));
        }
        Ok(Arc::new(Running {
            owned: first,
            sends: Sends::default(),
            open: Mutex::new(false),
            claimed: AtomicBool::default(),
        }))
    }

    /// Begins, unless all of it was committed before.
    fn begin(self: &Arc<Self>, turn: OwnedMutexGuard<()>, offsets: &[i64]) -> Result<Option<Guard>, Error> {
        let owned = &self.owned;
        match owned.partition.span(owned.generation, offsets) {
            Span::Done => return Ok(None),
            Span::Run => {}
            Span::Stale => {
                let remedy = "the partition was given to another member";
                return Err(Error::new(ErrorKind::LeaseLost, owned.name(), remedy));
            }
            // It comes again in smaller ones, until none is both.
            Span::PartlyDone => {
                let remedy = "some of this batch was committed before; nothing to do, the rest comes again";
                return Err(Error::new(ErrorKind::Broker, owned.name(), remedy));
            }
            Span::Other => {
                owned.exchange.fail(not_a_run(owned));
                return Err(not_a_run(owned));
            }
        }
        let runtime = Handle::try_current().map_err(|error| {
            Error::new(ErrorKind::Config, owned.name(), "run it on a tokio runtime").with_source(error)
        })?;
        owned.begin()?;
        *self.open() = true;
        Ok(Some(Guard { running: self.clone(), turn: Some(turn), runtime }))
    }

    fn open(&self) -> MutexGuard<'_, bool> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn not_a_run(owned: &Owned) -> Error {
    let remedy =
        "a transaction is for a run of one partition: use `Worker::batches` with `Ordering::Partition`";
    Error::new(ErrorKind::Config, owned.name(), remedy)
}

fn offset(message: &Message) -> i64 {
    message.origin().and_then(|origin| origin.offset).unwrap_or_default()
}

/// A transaction that was begun: aborted if it is dropped.
struct Guard {
    running: Arc<Running>,
    turn: Option<OwnedMutexGuard<()>>,
    runtime: Handle,
}

impl Guard {
    async fn end(
        self,
        answers: Result<Answers, BoxError>,
        offsets: &[i64],
        contexts: Vec<Bytes>,
    ) -> Result<Answers, BoxError> {
        let result = match answers.and_then(|answers| verdict(answers, offsets.len())) {
            Ok(None) => return self.commit(offsets, contexts).await.map(|()| Answers::ack()),
            Ok(Some(alone)) => Ok(alone),
            Err(error) => Err(error),
        };
        self.abort().await?;
        result
    }

    async fn commit(self, offsets: &[i64], contexts: Vec<Bytes>) -> Result<(), BoxError> {
        *self.running.open() = false;
        self.running.sends.all_answered().await;
        if self.running.sends.any_failed() {
            let name = self.running.owned.name();
            self.abort().await?;
            let remedy =
                "a message of the transaction was not taken, so all of it was aborted; its send says why";
            return Err(Error::new(ErrorKind::Broker, name, remedy).into());
        }
        let (next, count) = (offsets.last().map_or(0, |last| last + 1), offsets.len());
        self.run(move |owned| owned.commit(next, count, &contexts)).await
    }

    async fn abort(self) -> Result<(), BoxError> {
        self.run(Owned::abort).await
    }

    /// On a thread for what blocks; to its end, even if nobody waits any more.
    async fn run(
        mut self,
        last: impl FnOnce(&Owned) -> Result<(), Error> + Send + 'static,
    ) -> Result<(), BoxError> {
        let ended = self.leave(last);
        drop(self);
        match ended {
            Some(ended) => Ok(ended.await.map_err(|error: JoinError| BoxError::from(error))??),
            None => Ok(()),
        }
    }

    fn leave(
        &mut self,
        last: impl FnOnce(&Owned) -> Result<(), Error> + Send + 'static,
    ) -> Option<tokio::task::JoinHandle<Result<(), Error>>> {
        let turn = self.turn.take()?;
        *self.running.open() = false;
        let owned = self.running.owned.clone();
        Some(self.runtime.spawn_blocking(move || {
            let _turn = turn;
            last(&owned)
        }))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.leave(Owned::abort));
    }
}

/// Nothing if all is acknowledged. Of one message its own answer; of several an error of all of them, so that they come
/// again in smaller batches.
fn verdict(answers: Answers, messages: usize) -> Result<Option<Answers>, BoxError> {
    let (others, named) = answers.into_parts(messages)?;
    let named_all = messages > 0 && named.iter().all(Option::is_some);
    let others = (!named_all).then_some(others);
    let not_acked = |answer: &Result<Settlement, BoxError>| !matches!(answer, Ok(Settlement::Ack));
    match named.into_iter().flatten().chain(others).find(not_acked) {
        None => Ok(None),
        Some(answer) if messages == 1 => Ok(Some(Answers::all(answer))),
        Some(Err(error)) => Err(error),
        Some(Ok(how)) => Err(format!("a message of the batch was answered by {}", how.as_str()).into()),
    }
}

impl Transaction {
    /// One that takes nothing, for a handler that is not called.
    #[doc(hidden)]
    pub fn none() -> Self {
        Transaction(None)
    }

    /// Takes it for the one try of a handler that it is for.
    ///
    /// # Errors
    /// `Config` if a try before this one had it: what that sent is in it, and would be sent twice.
    #[doc(hidden)]
    pub fn claim(&self) -> Result<(), Error> {
        match &self.0 {
            Some(running) if running.claimed.swap(true, Ordering::AcqRel) => {
                let remedy =
                    "a transaction is for one try: put retries around the `TransactionLayer`, not below it";
                Err(Error::new(ErrorKind::Config, running.owned.name(), remedy))
            }
            _ => Ok(()),
        }
    }

    /// The same message, to be sent in this transaction by a sink that is made with
    /// [`in_transactions`](crate::KafkaSink::in_transactions).
    #[must_use = "it is sent by a publisher"]
    pub fn of(&self, mut message: Message) -> Message {
        message.extensions_mut().insert(self.clone());
        message
    }

    pub(crate) fn send(self, message: Message, to: &Arc<Destination>) -> Result<Sending, Error> {
        let Some(running) = self.0 else {
            return Err(Error::new(ErrorKind::Closed, &*to.name, "this transaction was never begun"));
        };
        let mut place = Place::new(running.owned.by.producer.flow.clone());
        let now = place.poll_take(&mut Context::from_waker(std::task::Waker::noop())).is_ready();
        let mut sending =
            Sending { running, destination: to.clone(), waits: Some((message, place)), answer: None };
        if now {
            sending.start()?;
        }
        Ok(sending)
    }
}

/// A send of a transaction: waits for a place, and then for its answer.
pub(crate) struct Sending {
    running: Arc<Running>,
    destination: Arc<Destination>,
    waits: Option<(Message, Place)>,
    answer: Option<SendFuture>,
}

impl Sending {
    fn start(&mut self) -> Result<(), Error> {
        // Under the lock, so that the transaction ends after it or it is refused.
        let open = self.running.open();
        if !*open {
            let remedy = "the transaction has ended, or has not begun; send before the handler returns";
            return Err(Error::new(ErrorKind::Closed, &*self.destination.name, remedy));
        }
        if let Some((message, place)) = self.waits.take() {
            let Running { owned, sends, .. } = &*self.running;
            self.answer = Some(owned.by.producer.send(&message, &self.destination, place, sends));
        }
        Ok(())
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Receipt, Error>> {
        if let Some((_, place)) = &mut self.waits {
            ready!(place.poll_take(cx));
            self.start()?;
        }
        // There is none where the start failed, which was told then.
        let told = || Error::new(ErrorKind::Closed, "send", "this future has already answered");
        match &mut self.answer {
            Some(answer) => Pin::new(answer).poll(cx),
            None => Poll::Ready(Err(told())),
        }
    }
}

impl fmt::Debug for Sending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sending").field("topic", &self.destination.name).finish_non_exhaustive()
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = self.0.as_ref().map(|running| running.owned.name());
        f.debug_struct("Transaction").field("of", &of).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_or_nothing() {
        let (ack, nack) = (Settlement::Ack, Settlement::nack());
        assert!(verdict(Answers::ack(), 3).unwrap().is_none());
        assert!(verdict(Answers::all(nack).but(0, ack), 1).unwrap().is_none());
        assert!(verdict(Answers::all(nack).but(0, ack), 2).is_err());
        assert!(verdict(Answers::ack().but(1, Settlement::Reject), 2).is_err());
        let alone = verdict(Answers::all(Settlement::Reject), 1).unwrap().unwrap();
        assert_eq!(alone.into_parts(1).unwrap().0.unwrap(), Settlement::Reject);
    }
}
