//! Async functions that handle a batch.

use super::{
    FromMessage, State,
    carried::{Carried, carried},
    function::every_arity,
};
use futures_util::future::BoxFuture;
use std::{
    fmt,
    future::Future,
    marker::PhantomData,
    task::{Context, Poll},
};
use throughline_core::{Answers, Batch, BoxError, IntoAnswers};
use tower_service::Service;

/// Takes a value from a batch and the handler's state.
///
/// `Vec<T>` is one `T` a message for every [`FromMessage`]; [`Batch`] is the messages themselves; [`State`] is the
/// state. All of them are of the same messages, in the same order: a message that one of them cannot be taken from is
/// **set apart** before the handler is called. It goes the way of a message that failed, alone, and the handler is given
/// the rest; with nothing left it is not called.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be taken from a batch with state `{S}`",
    note = "take `Vec<T>` of what can be taken from one message, `Batch`, or `State<..>` with the state given to \
            `batch_handler_with(state, f)`"
)]
pub trait FromBatch<S>: Sized {
    /// What was read of each message.
    type Read;

    /// Reads, and sets apart what cannot be read.
    fn read(batch: &Batch, state: &S, apart: &mut SetApart) -> Self::Read;

    /// Keeps what was not set apart; `rest` is the batch of just these.
    fn keep(read: Self::Read, rest: &Batch, apart: &SetApart) -> Self;
}

/// Which messages of a batch are not for the handler, and why.
#[derive(Debug)]
pub struct SetApart(Vec<Option<BoxError>>);

impl SetApart {
    fn none(messages: usize) -> Self {
        SetApart(std::iter::repeat_with(|| None).take(messages).collect())
    }

    /// Sets the message at this place apart. The first reason counts; a [`Rejected`](crate::Rejected) one leads to the
    /// dead letters at once.
    pub fn set(&mut self, place: usize, why: impl Into<BoxError>) {
        if let Some(slot) = self.0.get_mut(place) {
            slot.get_or_insert_with(|| why.into());
        }
    }

    /// Whether it is set apart.
    pub fn is_apart(&self, place: usize) -> bool {
        self.0.get(place).is_some_and(Option::is_some)
    }

    /// The places of the others.
    fn rest(&self) -> Vec<usize> {
        (0..self.0.len()).filter(|place| !self.is_apart(*place)).collect()
    }

    /// The handler's answers, which know only the rest, as answers to the whole batch.
    fn answers(self, rest: &[usize], answers: Result<Answers, BoxError>) -> Result<Answers, BoxError> {
        if rest.len() == self.0.len() {
            return answers;
        }
        let parts = answers.and_then(|answers| answers.into_parts(rest.len()).map_err(Into::into));
        let (others, named) = parts.unwrap_or_else(|error| (Err(error), Vec::new()));
        let mut all = Answers::all(others);
        for (place, answer) in rest.iter().zip(named) {
            if let Some(answer) = answer {
                all = all.but(*place, answer);
            }
        }
        let apart = self.0.into_iter().enumerate().filter_map(|(place, why)| Some((place, why?)));
        Ok(apart.fold(all, |all, (place, why)| all.but(place, Err::<(), _>(why))))
    }
}

impl<S, T: FromMessage<S>> FromBatch<S> for Vec<T> {
    type Read = Vec<Option<T>>;

    fn read(batch: &Batch, state: &S, apart: &mut SetApart) -> Vec<Option<T>> {
        let one = |(place, message)| match apart.is_apart(place) {
            true => None,
            false => T::from_message(message, state).map_err(|why| apart.set(place, why)).ok(),
        };
        batch.iter().enumerate().map(one).collect()
    }

    fn keep(read: Vec<Option<T>>, _: &Batch, apart: &SetApart) -> Self {
        let kept = read.into_iter().enumerate().filter(|(place, _)| !apart.is_apart(*place));
        kept.filter_map(|(_, value)| value).collect()
    }
}

impl<S> FromBatch<S> for Batch {
    type Read = ();

    fn read(_: &Batch, _: &S, _: &mut SetApart) {}

    fn keep((): (), rest: &Batch, _: &SetApart) -> Self {
        rest.clone()
    }
}

impl<T: Clone> FromBatch<T> for State<T> {
    type Read = State<T>;

    fn read(_: &Batch, state: &T, _: &mut SetApart) -> Self {
        State(state.clone())
    }

    fn keep(read: Self, _: &Batch, _: &SetApart) -> Self {
        read
    }
}

/// The transaction that the batch is handled in; without its layer the handler is not called.
#[cfg(feature = "kafka")]
impl<S> FromBatch<S> for crate::kafka::Transaction {
    type Read = Option<Self>;

    fn read(batch: &Batch, _: &S, apart: &mut SetApart) -> Option<Self> {
        let transaction = batch.extensions().get::<Self>().cloned();
        let missing =
            || Err("there is no transaction: put the `TransactionLayer` around the handler".to_owned());
        let claimed = |transaction: &Self| transaction.claim().map_err(|error| error.to_string());
        if let Err(why) = transaction.as_ref().map_or_else(missing, claimed) {
            (0..batch.len()).for_each(|place| apart.set(place, why.clone()));
        }
        transaction
    }

    fn keep(read: Option<Self>, _: &Batch, _: &SetApart) -> Self {
        read.unwrap_or_else(Self::none)
    }
}

/// An async fn of up to eight extractors of a batch, whose answer is [`IntoAnswers`].
///
/// Not implemented by hand; see [`batch_handler`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a batch handler",
    note = "a batch handler is an async fn of up to 8 of `Vec<T>`, `Batch` and `State<..>` that answers `()`, \
            `Settlement`, `Answers`, a `Vec` of one answer a message, or a `Result` of these, and whose future is `Send`"
)]
pub trait BatchHandler<T, S>: Clone + Send + 'static {
    /// Takes what the function asks for from the batch and runs it.
    fn call(&self, batch: Batch, state: &S) -> BoxFuture<'static, Result<Answers, BoxError>>;
}

/// Makes a service of an async fn that handles a batch.
///
/// ```
/// use throughline::{Batch, BoxError, Json, Message, Settlement, batch_handler};
/// use tower::ServiceExt;
///
/// /// Stores them all or none.
/// async fn store(numbers: Vec<Json<u32>>) -> Result<(), BoxError> {
///     println!("{} of them", numbers.len());
///     Ok(())
/// }
///
/// /// One answer for each: the odd ones come again.
/// async fn judge(numbers: Vec<Json<u32>>) -> Vec<Settlement> {
///     let one = |Json(n): &Json<u32>| if n % 2 == 0 { Settlement::Ack } else { Settlement::nack() };
///     numbers.iter().map(one).collect()
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let batch: Batch = ["1", "{", "2"].into_iter().map(Message::new).collect();
/// assert!(batch_handler(store).oneshot(batch.clone()).await.is_ok()); // the second is set apart
/// assert!(batch_handler(judge).oneshot(batch).await.is_ok());
/// # }
/// ```
pub fn batch_handler<F, T>(f: F) -> BatchHandlerService<F, T, ()>
where
    F: BatchHandler<T, ()>,
{
    BatchHandlerService { f, state: (), extractors: PhantomData }
}

/// Makes a service of an async fn and a value that [`State`] hands to each call.
pub fn batch_handler_with<F, T, S>(state: S, f: F) -> BatchHandlerService<F, T, S>
where
    F: BatchHandler<T, S>,
{
    BatchHandlerService { f, state, extractors: PhantomData }
}

/// The service of [`batch_handler`] and [`batch_handler_with`].
pub struct BatchHandlerService<F, T, S> {
    f: F,
    state: S,
    extractors: PhantomData<fn(T)>,
}

// === impl BatchHandlerService ===

impl<F, T, S> Service<Batch> for BatchHandlerService<F, T, S>
where
    F: BatchHandler<T, S>,
{
    type Response = Answers;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Answers, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, batch: Batch) -> Self::Future {
        self.f.call(batch, &self.state)
    }
}

impl<F: Clone, T, S: Clone> Clone for BatchHandlerService<F, T, S> {
    fn clone(&self) -> Self {
        BatchHandlerService { f: self.f.clone(), state: self.state.clone(), extractors: PhantomData }
    }
}

impl<F, T, S> fmt::Debug for BatchHandlerService<F, T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BatchHandlerService")
    }
}

/// Runs `make`, and the future it makes, in the batch's process context, unless a context is current already. With
/// nothing left of the batch there is nothing to run.
fn run<Fut>(
    batch: &Batch,
    apart: SetApart,
    rest: Vec<usize>,
    make: impl FnOnce() -> Fut,
) -> BoxFuture<'static, Result<Answers, BoxError>>
where
    Fut: Future<Output: IntoAnswers> + Send + 'static,
{
    let work = (!rest.is_empty()).then(|| Carried::run(carried(batch.extensions()), make));
    Box::pin(async move {
        let answers = match work {
            Some(work) => work.await.into_answers(),
            None => Ok(Answers::ack()),
        };
        apart.answers(&rest, answers)
    })
}

macro_rules! batch_handlers {
    ($($A:ident),*; $Last:ident) => {
        batch_handlers!($($A,)* $Last);
    };
    ($($A:ident),*) => {
        impl<F, Fut, S, $($A,)*> BatchHandler<($($A,)*), S> for F
        where
            F: Fn($($A),*) -> Fut + Clone + Send + 'static,
            Fut: Future + Send + 'static,
            Fut::Output: IntoAnswers,
            $($A: FromBatch<S>,)*
        {
            #[allow(non_snake_case, unused_variables, unused_mut, reason = "the macro names values after their types")]
            fn call(&self, batch: Batch, state: &S) -> BoxFuture<'static, Result<Answers, BoxError>> {
                let mut apart = SetApart::none(batch.len());
                $(let $A = $A::read(&batch, state, &mut apart);)*
                let places = apart.rest();
                let rest = if places.len() == batch.len() {
                    batch.clone()
                } else {
                    let kept = places.iter().map(|place| batch[*place].clone()).collect::<Batch>();
                    kept.with_extensions(batch.extensions().clone())
                };
                $(let $A = $A::keep($A, &rest, &apart);)*
                run(&batch, apart, places, || self($($A),*))
            }
        }
    };
}

every_arity!(batch_handlers);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Json, Settlement};
    use throughline_core::Message;
    use tower::ServiceExt;

    /// What each message gets: `ack`, `nack`, `reject`, or the error's text.
    async fn told<F, T>(payloads: &[&'static str], f: F) -> Vec<String>
    where
        F: BatchHandler<T, ()>,
    {
        let batch: Batch = payloads.iter().copied().map(Message::new).collect();
        let answers = batch_handler(f).oneshot(batch).await.unwrap();
        let (others, each) = answers.into_parts(payloads.len()).unwrap();
        let text = |answer: &Result<Settlement, BoxError>| match answer {
            Ok(how) => how.as_str().to_owned(),
            Err(error) => error.to_string().split(':').next().unwrap_or_default().to_owned(),
        };
        each.iter().map(|answer| text(answer.as_ref().unwrap_or(&others))).collect()
    }

    async fn nack_the_sevens(numbers: Vec<Json<u8>>, batch: Batch) -> Vec<Settlement> {
        assert_eq!(numbers.len(), batch.len());
        let one = |Json(n): Json<u8>| if n == 7 { Settlement::nack() } else { Settlement::Ack };
        numbers.into_iter().map(one).collect()
    }

    #[tokio::test]
    async fn answers_know_the_places_of_the_whole_batch() {
        let set_apart = "message rejected";
        let answers = told(&["1", "{", "7", "x", "2", "7"], nack_the_sevens).await;
        assert_eq!(answers, ["ack", set_apart, "nack", set_apart, "ack", "nack"]);
        let fails = |_: Vec<Json<u8>>| async { Err::<(), _>("down") };
        assert_eq!(told(&["{", "1", "2"], fails).await, [set_apart, "down", "down"]);
        let wrong = |_: Vec<Json<u8>>| async { vec![Settlement::Ack; 2] };
        let answers = told(&["1", "{"], wrong).await;
        assert_eq!(answers[1], set_apart);
        assert!(answers[0].starts_with("2 answered of a batch of 1"), "{answers:?}");
    }

    #[tokio::test]
    async fn with_nothing_left_the_handler_is_not_called() {
        let called = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let calls = called.clone();
        let handler = move |_: Vec<Json<u8>>| {
            calls.store(true, std::sync::atomic::Ordering::SeqCst);
            async {}
        };
        assert_eq!(told(&["{", "x"], handler).await, ["message rejected"; 2]);
        assert!(!called.load(std::sync::atomic::Ordering::SeqCst));
    }
}
