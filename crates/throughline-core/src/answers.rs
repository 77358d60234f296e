//! The answer to a batch.

use crate::{BoxError, IntoSettlement, Rejected, Settlement};
use std::{convert::Infallible, error::Error as StdError, fmt};

/// What becomes of each message of a batch: one answer for those that are not named, and others by their place.
///
/// What is not named is acknowledged, unless it is said otherwise. An answer for a place that the batch does not have,
/// or to another number of messages than it has, is taken for a failure of the whole batch: each of its messages comes
/// again.
///
/// ```
/// use throughline_core::{Answers, Settlement};
///
/// // The second comes again, the third never; all others are done.
/// let answers = Answers::ack().but(1, Settlement::nack()).but(2, Settlement::Reject);
/// # drop(answers);
/// ```
#[derive(Debug)]
pub struct Answers {
    others: Result<Settlement, BoxError>,
    named: Vec<(usize, Result<Settlement, BoxError>)>,
    /// How many messages these are the answers to, if that was said.
    exactly: Option<usize>,
}

/// What a batch's stack may answer.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an answer to a batch",
    note = "answer `()`, `Settlement`, `Answers`, a `Vec` with one answer a message, or a `Result` of these whose \
            error is `Into<BoxError>`"
)]
pub trait IntoAnswers {
    /// An error is a failure of the batch as a whole: each of its messages is nacked.
    fn into_answers(self) -> Result<Answers, BoxError>;
}

/// The answers do not fit the batch: there are more or fewer than messages, or one names a place that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongAnswers {
    /// So many were answered, or that place was named.
    pub answered: usize,
    /// So many messages were in the batch.
    pub messages: usize,
}

impl Answers {
    /// All are done.
    pub fn ack() -> Self {
        Answers::all(Settlement::Ack)
    }

    /// This for all; with [`but`](Self::but), for all others. An `Err` is a failure of these as a whole.
    pub fn all(answer: impl IntoSettlement) -> Self {
        Answers { others: answer.into_settlement(), named: Vec::new(), exactly: None }
    }

    /// One for each message, in the batch's order.
    pub fn each(answers: impl IntoIterator<Item = impl IntoSettlement>) -> Self {
        let named: Vec<_> = answers.into_iter().map(IntoSettlement::into_settlement).enumerate().collect();
        Answers { others: Ok(Settlement::Ack), exactly: Some(named.len()), named }
    }

    /// This for the message at this place, whatever was said of it before.
    #[must_use]
    pub fn but(mut self, place: usize, answer: impl IntoSettlement) -> Self {
        self.named.push((place, answer.into_settlement()));
        self
    }

    /// What all messages get that are not named, and what each gets that is.
    ///
    /// # Errors
    /// They do not fit a batch of so many messages.
    #[allow(clippy::type_complexity, reason = "named once, taken apart at once")]
    pub fn into_parts(
        self,
        messages: usize,
    ) -> Result<(Result<Settlement, BoxError>, Vec<Option<Result<Settlement, BoxError>>>), WrongAnswers> {
        if let Some(answered) = self.exactly.filter(|answered| *answered != messages) {
            return Err(WrongAnswers { answered, messages });
        }
        let mut each: Vec<_> = std::iter::repeat_with(|| None).take(messages).collect();
        for (place, answer) in self.named {
            *each.get_mut(place).ok_or(WrongAnswers { answered: place, messages })? = Some(answer);
        }
        Ok((self.others, each))
    }
}

impl IntoAnswers for () {
    fn into_answers(self) -> Result<Answers, BoxError> {
        Ok(Answers::ack())
    }
}

impl IntoAnswers for Infallible {
    fn into_answers(self) -> Result<Answers, BoxError> {
        match self {}
    }
}

impl IntoAnswers for Settlement {
    fn into_answers(self) -> Result<Answers, BoxError> {
        Ok(Answers::all(self))
    }
}

impl IntoAnswers for Rejected {
    fn into_answers(self) -> Result<Answers, BoxError> {
        Err(self.into())
    }
}

impl IntoAnswers for Answers {
    fn into_answers(self) -> Result<Answers, BoxError> {
        Ok(self)
    }
}

impl<T: IntoSettlement> IntoAnswers for Vec<T> {
    fn into_answers(self) -> Result<Answers, BoxError> {
        Ok(Answers::each(self))
    }
}

impl<T: IntoAnswers, E: Into<BoxError>> IntoAnswers for Result<T, E> {
    fn into_answers(self) -> Result<Answers, BoxError> {
        self.map_err(Into::into)?.into_answers()
    }
}

impl fmt::Display for WrongAnswers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let WrongAnswers { answered, messages } = self;
        write!(
            f,
            "{answered} answered of a batch of {messages}: give one answer a message, or name those that differ"
        )
    }
}

impl StdError for WrongAnswers {}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(answers: impl IntoAnswers, messages: usize) -> Result<Vec<Settlement>, WrongAnswers> {
        let (others, each) = answers.into_answers().unwrap().into_parts(messages)?;
        let others = others.unwrap();
        Ok(each.into_iter().map(|answer| answer.map_or(others, Result::unwrap)).collect())
    }

    #[test]
    fn what_is_not_named_is_done_and_what_is_named_twice_is_as_it_was_named_last() {
        let (ack, nack) = (Settlement::Ack, Settlement::nack());
        assert_eq!(parts((), 2), Ok(vec![ack, ack]));
        assert_eq!(parts(nack, 2), Ok(vec![nack, nack]));
        let answers = Answers::ack().but(1, nack).but(0, nack).but(0, Settlement::Reject);
        assert_eq!(parts(answers, 3), Ok(vec![Settlement::Reject, nack, ack]));
        assert_eq!(parts(vec![ack, nack], 2), Ok(vec![ack, nack]));
    }

    #[test]
    fn answers_that_do_not_fit_are_an_error() {
        let ack = Settlement::Ack;
        assert_eq!(parts(vec![ack], 2), Err(WrongAnswers { answered: 1, messages: 2 }));
        assert_eq!(parts(vec![ack; 3], 2), Err(WrongAnswers { answered: 3, messages: 2 }));
        assert_eq!(parts(Answers::ack().but(2, ack), 2), Err(WrongAnswers { answered: 2, messages: 2 }));
    }
}
