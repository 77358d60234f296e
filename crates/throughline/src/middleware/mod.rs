//! Layers: what the worker puts around a stack, and what users put into one.

mod catch_panic;
mod dead_letter;
mod from_fn;
mod retry;
mod settle;
mod share;

pub use catch_panic::{CatchPanic, CatchPanicFuture, CatchPanicLayer, Panicked};
pub use dead_letter::{DeadLetter, OnReject, fields};
pub use from_fn::{AnswerTo, FromFn, FromFnLayer, Next, Request, from_fn};
pub(crate) use retry::doubled;
pub use retry::{Backoff, RetryLayer};
pub(crate) use settle::{Answering, ByOutcome, Held, Outcome, Outcomes, Owed, Settle, answer, answer_each};
pub use settle::{Redelay, error_type};
pub use share::{Share, ShareLayer};
