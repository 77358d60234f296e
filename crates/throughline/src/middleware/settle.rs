//! Turns what a stack answered into a settlement, inside the message's trace.

use super::{DeadLetter, OnReject, Panicked, dead_letter::dead_letter, retry::doubled};
use crate::deliveries::Deliveries;
use futures_util::future::join_all;
use std::{
    borrow::Cow,
    error::Error as StdError,
    future::Future,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use throughline_core::{
    Batch, BoxError, Delivery, IntoAnswers, IntoSettlement, Lease, Message, PartitionIndex, Redelivery,
    Settlement, Settler,
};
use throughline_trace::{Classify, Failure, Trail};
use tower_service::Service;

/// How long a nacked message waits: doubling from `first` up to `longest`, give or take a quarter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redelay {
    first: Duration,
    longest: Duration,
}

impl Redelay {
    /// From `first`, doubled at each delivery, up to `longest`.
    pub const fn exponential(first: Duration, longest: Duration) -> Self {
        Redelay { first, longest }
    }

    fn after(self, deliveries: u32) -> Duration {
        doubled(self.first, self.longest, deliveries.saturating_sub(1))
    }
}

impl Default for Redelay {
    /// One second, up to five minutes.
    fn default() -> Self {
        Redelay::exponential(Duration::from_secs(1), Duration::from_secs(300))
    }
}

/// How a worker answers.
#[derive(Debug)]
pub(crate) struct Answering {
    pub(crate) redelivery: Redelivery,
    pub(crate) redelay: Redelay,
    pub(crate) dead_letter: Option<DeadLetter>,
    pub(crate) on_reject: OnReject,
}

/// What became of one delivery. Small, since it is moved up through every layer.
pub(crate) struct Outcome<Z> {
    pub(crate) how: Settlement,
    /// Of everything but an ack.
    pub(crate) failed: Option<Box<Failed<Z>>>,
}

/// What there is to say of a delivery that was not acknowledged by its handler.
pub(crate) struct Failed<Z> {
    pub(crate) failure: Failure,
    /// It was sent to the dead letters, or dropped because the user said so.
    pub(crate) put_aside: bool,
    /// It comes again from here, not from the broker.
    pub(crate) held: Option<Held<Z>>,
}

/// A delivery that the worker keeps and tries again; without its lease, which the loop has anyway.
pub(crate) struct Held<Z> {
    pub(crate) delivery: Delivery<Z>,
    pub(crate) after: Duration,
}

/// What became of each delivery of a batch, in its order.
pub(crate) struct Outcomes<Z>(pub(crate) Vec<Result<Outcome<Z>, BoxError>>);

/// What a stack is called for: parted into what it is given and what is kept meanwhile.
pub(crate) trait Owed {
    type Request;
    type Kept;

    fn part(self) -> (Self::Request, Self::Kept);
}

/// What is kept of a delivery while the stack has its message.
pub(crate) struct Kept<Z> {
    message: Message,
    settler: Z,
    partition: PartitionIndex,
}

/// Keeps the settler, hands the message down and joins the two when the answer is there. `join` is a plain async fn;
/// as a type parameter its future needs neither a name nor a box.
#[derive(Clone)]
pub(crate) struct Settle<S, J> {
    inner: S,
    join: J,
}

impl<S, J> Settle<S, J> {
    pub(crate) fn new(inner: S, join: J) -> Self {
        Settle { inner, join }
    }
}

impl<S, J, R, Fut, Out> Service<R> for Settle<S, J>
where
    R: Owed,
    S: Service<R::Request>,
    S::Error: Into<BoxError>,
    J: FnMut(S::Future, R::Kept) -> Fut,
    Fut: Future<Output = Result<Out, BoxError>>,
{
    type Response = Out;
    type Error = BoxError;
    type Future = Fut;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    #[inline]
    fn call(&mut self, owed: R) -> Fut {
        let (request, kept) = owed.part();
        (self.join)(self.inner.call(request), kept)
    }
}

impl<Z> Owed for Delivery<Z> {
    type Request = Message;
    type Kept = Kept<Z>;

    #[inline]
    fn part(self) -> (Message, Kept<Z>) {
        let Delivery { mut message, settler, lease, partition } = self;
        // Kept without the lease: each clone of that is counted.
        let kept = Kept { message: message.clone(), settler, partition };
        message.set_lease(lease);
        (message, kept)
    }
}

impl<Z> Owed for Deliveries<Z> {
    type Request = Batch;
    type Kept = Vec<Kept<Z>>;

    fn part(self) -> (Batch, Vec<Kept<Z>>) {
        let (messages, kept): (Vec<_>, _) = self.each.into_iter().map(Delivery::part).unzip();
        (Batch::new(messages).with_extensions(self.extensions), kept)
    }
}

/// Waits for the stack's answer and settles.
#[allow(
    clippy::manual_async_fn,
    reason = "the future of an async fn holds what it is given twice, and is moved"
)]
pub(crate) fn answer<F, Z, Res, E>(
    work: F,
    kept: Kept<Z>,
    answering: Arc<Answering>,
) -> impl Future<Output = Result<Outcome<Z>, BoxError>>
where
    F: Future<Output = Result<Res, E>>,
    Z: Settler,
    Res: IntoSettlement,
    E: Into<BoxError>,
{
    async move {
        let result = match work.await {
            Ok(answer) => answer.into_settlement(),
            Err(error) => Err(error.into()),
        };
        if let Ok(Settlement::Ack) = result {
            kept.settler.settle(Settlement::Ack).await?;
            return Ok(Outcome::ACKED);
        }
        // Boxed: every handler's future would be as large as the rare way.
        Box::pin(async move { answering.failed(result.as_ref().map(|how| *how), Blame::Own, kept).await })
            .await
    }
}

/// The same for a batch: every message gets its own answer, or that of all.
pub(crate) async fn answer_each<F, Z, Res, E>(
    work: F,
    kept: Vec<Kept<Z>>,
    answering: Arc<Answering>,
) -> Result<Outcomes<Z>, BoxError>
where
    F: Future<Output = Result<Res, E>>,
    Z: Settler,
    Res: IntoAnswers,
    E: Into<BoxError>,
{
    let answers = match work.await {
        Ok(answers) => answers.into_answers(),
        Err(error) => Err(error.into()),
    };
    let parts = answers.and_then(|answers| answers.into_parts(kept.len()).map_err(Into::into));
    let (others, named) = parts.unwrap_or_else(|error| (Err(error), Vec::new()));
    let alone = kept.len() - named.iter().flatten().count() == 1;
    let blame = if alone { Blame::Own } else { Blame::Shared };
    let (others, named, answering) = (&others, &named, &answering);
    let mut outcomes: Vec<_> = std::iter::repeat_with(|| None).take(kept.len()).collect();
    let (mut acked, mut failed) = (Vec::with_capacity(kept.len()), Vec::new());
    for (place, kept) in kept.into_iter().enumerate() {
        let (result, blame) = match named.get(place) {
            Some(Some(result)) => (result, Blame::Own),
            _ => (others, blame),
        };
        if let Ok(Settlement::Ack) = result {
            // Given from the call on, so they are under way side by side.
            acked.push((place, kept.settler.settle(Settlement::Ack)));
        } else {
            let result = result.as_ref().map(|how| *how);
            failed.push(async move { (place, answering.failed(result, blame, kept).await) });
        }
    }
    for (place, ack) in acked {
        outcomes[place] = Some(ack.await.map(|()| Outcome::ACKED).map_err(BoxError::from));
    }
    // Boxed for the same reason. Side by side, since a dead letter is a send.
    for (place, outcome) in Box::pin(join_all(failed)).await {
        outcomes[place] = Some(outcome);
    }
    Ok(Outcomes(outcomes.into_iter().flatten().collect()))
}

/// Whose failure it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Blame {
    /// That of this message.
    Own,
    /// That of some message of its batch: it comes again, in a smaller one, and is never put aside for another.
    Shared,
}

impl<Z> Outcome<Z> {
    const ACKED: Self = Outcome { how: Settlement::Ack, failed: None };

    fn failed(how: Settlement, failed: Failed<Z>) -> Self {
        Outcome { how, failed: Some(Box::new(failed)) }
    }
}

impl Answering {
    /// The way of everything but an ack.
    async fn failed<Z: Settler>(
        &self,
        result: Result<Settlement, &BoxError>,
        blame: Blame,
        kept: Kept<Z>,
    ) -> Result<Outcome<Z>, BoxError> {
        let deliveries = kept.message.origin().map_or(1, |origin| origin.delivery_count);
        let failure = match result {
            Ok(how) => Failure::new(how.as_str()),
            Err(error) => failure_of(error),
        };
        let (mut how, reason) = match result {
            Ok(how) => (how, None),
            Err(error) => (meaning(&failure.error_type), Some(error)),
        };
        if how == Settlement::Reject && reason.is_some() && blame == Blame::Shared {
            how = Settlement::nack();
        }
        if let (Settlement::Nack { .. }, Blame::Own, Some(letters)) = (how, blame, &self.dead_letter)
            && deliveries >= letters.after
        {
            how = Settlement::Reject;
        }
        if how == Settlement::Reject {
            match (&self.dead_letter, self.on_reject) {
                (Some(letters), _) => {
                    let letter = dead_letter(&kept.message, &failure.error_type, reason);
                    if let Err(error) = letters.publisher.send(letter).await {
                        // Held, never dropped: it is rejected again, and then the dead letters may take it.
                        tracing::warn!(%error, "a dead letter was not accepted; its message is held and tried again");
                        let failure = Failure {
                            error_type: Cow::Borrowed("dead_letter_failed"),
                            description: Some(error.to_string()),
                        };
                        return self.again(how, None, deliveries, failure, kept).await;
                    }
                }
                (None, OnReject::Discard) => {}
                (None, OnReject::Hold) => return self.again(how, None, deliveries, failure, kept).await,
            }
            kept.settler.settle(Settlement::Reject).await?;
            return Ok(Outcome::failed(how, Failed { failure, put_aside: true, held: None }));
        }
        let after = match how {
            Settlement::Nack { after } => after,
            _ => None,
        };
        self.again(how, after, deliveries, failure, kept).await
    }

    async fn again<Z: Settler>(
        &self,
        how: Settlement,
        after: Option<Duration>,
        deliveries: u32,
        failure: Failure,
        kept: Kept<Z>,
    ) -> Result<Outcome<Z>, BoxError> {
        let after = after.unwrap_or_else(|| self.redelay.after(deliveries));
        let Kept { mut message, settler, partition } = kept;
        let held = match self.redelivery {
            Redelivery::Broker => {
                settler.settle(Settlement::retry_after(after)).await?;
                None
            }
            Redelivery::Worker => {
                // The next delivery has a process span of its own.
                message.extensions_mut().pop::<Trail>();
                if let Some(origin) = message.origin_mut() {
                    origin.delivery_count = origin.delivery_count.saturating_add(1);
                }
                let lease = Lease::forever();
                Some(Held { delivery: Delivery { message, settler, lease, partition }, after })
            }
        };
        Ok(Outcome::failed(how, Failed { failure, put_aside: false, held }))
    }
}

/// Tells the tracing layer what an outcome means for the process span.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ByOutcome;

impl<Z> Classify<Outcome<Z>, BoxError> for ByOutcome {
    fn failure(&self, result: &Result<Outcome<Z>, BoxError>) -> Option<Failure> {
        match result {
            Ok(outcome) => outcome.failed.as_ref().map(|failed| failed.failure.clone()),
            Err(error) => Some(failure_of(error)),
        }
    }
}

impl<Z> Classify<Outcomes<Z>, BoxError> for ByOutcome {
    /// One message that failed makes the batch's span an error, which says how many did.
    fn failure(&self, result: &Result<Outcomes<Z>, BoxError>) -> Option<Failure> {
        let Outcomes(results) = match result {
            Ok(outcomes) => outcomes,
            Err(error) => return Some(failure_of(error)),
        };
        let mut failures = results.iter().filter_map(|result| match result {
            Ok(outcome) => outcome.failed.as_ref().map(|failed| failed.failure.clone()),
            Err(error) => Some(failure_of(error)),
        });
        let first = failures.next()?;
        let (failed, all) = (1 + failures.count(), results.len());
        let why = first.description.as_deref().unwrap_or(&first.error_type);
        Some(Failure {
            description: Some(format!("{failed} of {all} messages: {why}")),
            error_type: first.error_type,
        })
    }
}

/// What a nack of this kind asks for.
fn meaning(error_type: &str) -> Settlement {
    match error_type {
        "rejected" => Settlement::Reject,
        "overloaded" => Settlement::retry_after(Duration::from_secs(1)),
        _ => Settlement::nack(),
    }
}

fn failure_of(error: &BoxError) -> Failure {
    let description = Some(error.to_string()).filter(|text| !text.is_empty());
    Failure { error_type: Cow::Borrowed(error_type(error.as_ref())), description }
}

/// The low-cardinality word for an error, as in the attribute `error.type`.
///
/// `timeout` and `overloaded` for tower's own errors, `panic` for [`Panicked`], else what
/// [`throughline_trace::error_type`] says.
pub fn error_type(error: &(dyn StdError + 'static)) -> &'static str {
    if error.is::<tower::timeout::error::Elapsed>() {
        "timeout"
    } else if error.is::<tower::load_shed::error::Overloaded>() {
        "overloaded"
    } else if error.is::<Panicked>() {
        "panic"
    } else {
        throughline_trace::error_type(error)
    }
}
