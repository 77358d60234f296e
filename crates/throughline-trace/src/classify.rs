//! What counts as a failure, and what it is called.

use std::{any::Any, borrow::Cow, error::Error as StdError, fmt};
use throughline_core::{BoxError, Error, Receipt, Rejected, Settlement};

/// A failure, as a span tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The value of `error.type`: of few different values.
    pub error_type: Cow<'static, str>,
    /// The description of the span's status, where it adds something.
    pub description: Option<String>,
}

impl Failure {
    /// A failure that needs no description.
    pub fn new(error_type: impl Into<Cow<'static, str>>) -> Self {
        Failure { error_type: error_type.into(), description: None }
    }
}

/// Says what a result means for its span.
///
/// ```
/// use throughline_trace::{Classify, Failure};
///
/// /// Answers of this service are counts; none at all is a failure.
/// #[derive(Clone)]
/// struct NoneIsBad;
///
/// impl<E> Classify<usize, E> for NoneIsBad {
///     fn failure(&self, result: &Result<usize, E>) -> Option<Failure> {
///         match result {
///             Ok(0) => Some(Failure::new("empty")),
///             Ok(_) => None,
///             Err(_) => Some(Failure::new("_OTHER")),
///         }
///     }
/// }
/// ```
pub trait Classify<Res, E>: Clone {
    /// The failure, if it is one. Success leaves the status unset.
    fn failure(&self, result: &Result<Res, E>) -> Option<Failure>;

    /// The broker's receipt in it, for the attributes of a send span.
    fn receipt<'a>(&self, result: &'a Result<Res, E>) -> Option<&'a Receipt> {
        let _ = result;
        None
    }
}

/// The default: an `Err` is a failure, and so is an answer of [`Settlement::Nack`] or [`Settlement::Reject`].
///
/// `error.type` is the [kind](throughline_core::ErrorKind::as_str) of a [`throughline_core::Error`] wherever it is in
/// the chain of sources, `rejected` for [`Rejected`], `nack` and `reject` for these answers, else `_OTHER`.
#[derive(Clone, Copy, Debug, Default)]
pub struct OnError;

impl<Res: 'static, E: fmt::Display + 'static> Classify<Res, E> for OnError {
    fn failure(&self, result: &Result<Res, E>) -> Option<Failure> {
        match result {
            Ok(answer) => match (answer as &dyn Any).downcast_ref::<Settlement>() {
                Some(how @ (Settlement::Nack { .. } | Settlement::Reject)) => {
                    Some(Failure::new(how.as_str()))
                }
                _ => None,
            },
            Err(error) => {
                let description = Some(error.to_string()).filter(|text| !text.is_empty());
                Some(Failure { error_type: Cow::Borrowed(of_any(error)), description })
            }
        }
    }

    fn receipt<'a>(&self, result: &'a Result<Res, E>) -> Option<&'a Receipt> {
        result.as_ref().ok().and_then(|answer| (answer as &dyn Any).downcast_ref())
    }
}

fn of_any(error: &dyn Any) -> &'static str {
    if let Some(error) = error.downcast_ref::<BoxError>() {
        return error_type(&**error);
    }
    if let Some(error) = error.downcast_ref::<Error>() {
        return error.kind().as_str();
    }
    if error.is::<Rejected>() { "rejected" } else { "_OTHER" }
}

/// The low-cardinality word for an error, as in the attribute `error.type`: the kind of a [`throughline_core::Error`]
/// wherever it is in the chain of sources, `rejected` for [`Rejected`], else `_OTHER`.
pub fn error_type(error: &(dyn StdError + 'static)) -> &'static str {
    // A bound, since a source may be its own.
    let chain = std::iter::successors(Some(error), |&error| error.source()).take(16);
    for error in chain {
        if let Some(error) = error.downcast_ref::<Error>() {
            return error.kind().as_str();
        }
        if error.is::<Rejected>() {
            return "rejected";
        }
    }
    "_OTHER"
}

#[cfg(test)]
mod tests {
    use super::*;
    use throughline_core::ErrorKind;

    fn of<Res: 'static, E: fmt::Display + 'static>(result: Result<Res, E>) -> Option<String> {
        OnError.failure(&result).map(|failure| failure.error_type.into_owned())
    }

    #[test]
    fn known_errors_have_their_names() {
        let timeout = || Error::new(ErrorKind::Timeout, "topic", "");
        assert_eq!(of(Ok::<_, String>(())), None);
        assert_eq!(of(Ok::<_, String>(Settlement::Ack)), None);
        assert_eq!(of(Ok::<_, String>(Settlement::nack())), Some("nack".into()));
        assert_eq!(of(Ok::<_, String>(Settlement::Reject)), Some("reject".into()));
        assert_eq!(of(Err::<(), _>("any")), Some("_OTHER".into()));
        assert_eq!(of(Err::<(), _>(timeout())), Some("timeout".into()));
        assert_eq!(of(Err::<(), BoxError>(timeout().into())), Some("timeout".into()));
        assert_eq!(of(Err::<(), BoxError>(Rejected::new("why").into())), Some("rejected".into()));
        let within = Error::new(ErrorKind::Broker, "topic", "").with_source(timeout());
        assert_eq!(of(Err::<(), BoxError>(within.into())), Some("broker".into()), "the outermost counts");
        let io = std::io::Error::other(timeout());
        assert_eq!(
            of(Err::<(), BoxError>(Box::new(io))),
            Some("_OTHER".into()),
            "io hides its own inner error"
        );
    }
}
