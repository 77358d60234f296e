//! Turns what a stack answered into a settlement, inside the message's trace.

use super::{DeadLetter, OnReject, Panicked, dead_letter::dead_letter, retry::doubled};
use std::{
    borrow::Cow,
    error::Error as StdError,
    future::Future,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use throughline_core::{
    BoxError, Delivery, IntoSettlement, Lease, Message, PartitionIndex, Redelivery, Settlement, Settler,
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

/// A delivery that the worker keeps and tries again.
pub(crate) struct Held<Z> {
    pub(crate) delivery: Delivery<Z>,
    pub(crate) after: Duration,
}

/// What is kept of a delivery while the stack has its message.
pub(crate) struct Kept<Z> {
    message: Message,
    settler: Z,
    lease: Lease,
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

impl<S, J, Z, Fut> Service<Delivery<Z>> for Settle<S, J>
where
    S: Service<Message>,
    S::Error: Into<BoxError>,
    J: FnMut(S::Future, Kept<Z>) -> Fut,
    Fut: Future<Output = Result<Outcome<Z>, BoxError>>,
{
    type Response = Outcome<Z>;
    type Error = BoxError;
    type Future = Fut;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, delivery: Delivery<Z>) -> Fut {
        let Delivery { mut message, settler, lease, partition } = delivery;
        message.set_lease(lease.clone());
        let kept = Kept { message: message.clone(), settler, lease, partition };
        (self.join)(self.inner.call(message), kept)
    }
}

/// Waits for the stack's answer and settles.
pub(crate) async fn answer<F, Z, Res, E>(
    work: F,
    kept: Kept<Z>,
    answering: Arc<Answering>,
) -> Result<Outcome<Z>, BoxError>
where
    F: Future<Output = Result<Res, E>>,
    Z: Settler,
    Res: IntoSettlement,
    E: Into<BoxError>,
{
    let result = match work.await {
        Ok(answer) => answer.into_settlement(),
        Err(error) => Err(error.into()),
    };
    if let Ok(Settlement::Ack) = result {
        kept.settler.settle(Settlement::Ack).await?;
        return Ok(Outcome { how: Settlement::Ack, failed: None });
    }
    // Boxed: every handler's future would be as large as the rare way.
    Box::pin(answering.failed(result, kept)).await
}

impl<Z> Outcome<Z> {
    fn failed(how: Settlement, failed: Failed<Z>) -> Self {
        Outcome { how, failed: Some(Box::new(failed)) }
    }
}

impl Answering {
    /// The way of everything but an ack.
    async fn failed<Z: Settler>(
        &self,
        result: Result<Settlement, BoxError>,
        kept: Kept<Z>,
    ) -> Result<Outcome<Z>, BoxError> {
        let deliveries = kept.message.origin().map_or(1, |origin| origin.delivery_count);
        let failure = match &result {
            Ok(how) => Failure::new(how.as_str()),
            Err(error) => failure_of(error),
        };
        let (mut how, reason) = match result {
            Ok(how) => (how, None),
            Err(error) => (meaning(&failure.error_type), Some(error)),
        };
        if let (Settlement::Nack { .. }, Some(letters)) = (how, &self.dead_letter)
            && deliveries >= letters.after
        {
            how = Settlement::Reject;
        }
        if how == Settlement::Reject {
            match (&self.dead_letter, self.on_reject) {
                (Some(letters), _) => {
                    let letter = dead_letter(&kept.message, &failure.error_type, reason.as_ref());
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
        let Kept { mut message, settler, lease, partition } = kept;
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
