//! The answer to a delivery, and who takes it.

use crate::{BoxError, Error};
use std::{convert::Infallible, error::Error as StdError, fmt, future::Future, time::Duration};

/// The answer to a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// Done; never deliver it again.
    Ack,
    /// Not done; deliver it again.
    Nack {
        /// Not before this long; `None` leaves the delay to the worker, where it grows with the delivery count.
        after: Option<Duration>,
    },
    /// Can never be done: to the dead letters, or held until somebody decides.
    Reject,
}

impl Settlement {
    /// Again, with the worker's growing delay.
    pub const fn nack() -> Self {
        Settlement::Nack { after: None }
    }

    /// Again, not before this long.
    pub const fn retry_after(after: Duration) -> Self {
        Settlement::Nack { after: Some(after) }
    }

    /// The word for it, as in an attribute: `ack`, `nack` or `reject`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Settlement::Ack => "ack",
            Settlement::Nack { .. } => "nack",
            Settlement::Reject => "reject",
        }
    }
}

/// An error that says: this message can never be handled, whoever tries. It leads to [`Settlement::Reject`], is not
/// retried, and its text is the reason on the dead letter.
///
/// ```
/// use throughline_core::{IntoSettlement, Rejected};
///
/// assert!(Rejected::new("no such customer").into_settlement().is_err());
/// ```
#[derive(Debug)]
pub struct Rejected(BoxError);

impl Rejected {
    /// For this reason.
    pub fn new(reason: impl Into<BoxError>) -> Self {
        Rejected(reason.into())
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "message rejected: {}", self.0)
    }
}

impl StdError for Rejected {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}

/// What a handler or a stack of the user's may answer.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an answer to a message",
    note = "answer `()`, `Settlement`, `Rejected`, or a `Result` of these whose error is `Into<BoxError>`"
)]
pub trait IntoSettlement {
    /// An error counts as a nack, unless it is [`Rejected`] or one whose meaning the worker knows.
    fn into_settlement(self) -> Result<Settlement, BoxError>;
}

impl IntoSettlement for () {
    fn into_settlement(self) -> Result<Settlement, BoxError> {
        Ok(Settlement::Ack)
    }
}

impl IntoSettlement for Infallible {
    fn into_settlement(self) -> Result<Settlement, BoxError> {
        match self {}
    }
}

impl IntoSettlement for Settlement {
    fn into_settlement(self) -> Result<Settlement, BoxError> {
        Ok(self)
    }
}

impl IntoSettlement for Rejected {
    fn into_settlement(self) -> Result<Settlement, BoxError> {
        Err(self.into())
    }
}

impl<T: IntoSettlement, E: Into<BoxError>> IntoSettlement for Result<T, E> {
    fn into_settlement(self) -> Result<Settlement, BoxError> {
        self.map_err(Into::into)?.into_settlement()
    }
}

/// Takes the settlement of one delivery. Not `Clone`: nobody can settle twice.
///
/// Dropping it unsettled gives the message back, as a nack would: the broker delivers it again, at once or when our
/// hold on it ends. It is never an ack.
pub trait Settler: Send + 'static {
    /// Resolves when the adapter has taken responsibility for the answer, which need not be when the broker confirmed
    /// it; what the broker says later is reported as an [`Event`](crate::Event).
    ///
    /// # Cancel safety
    /// The answer counts as given from the call on; a future that is dropped early only gives up the report.
    ///
    /// # Errors
    /// [`LeaseLost`](crate::ErrorKind::LeaseLost) if the message was no longer ours: nothing was sent, and the broker
    /// delivers it again. The caller does not retry.
    fn settle(self, how: Settlement) -> impl Future<Output = Result<(), Error>> + Send;
}

/// Who delivers a nacked message again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redelivery {
    /// The worker holds the message and tries again: the broker has no nack (a log with a committed offset).
    Worker,
    /// The broker does, with the delay it was given.
    Broker,
}
