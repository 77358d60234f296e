//! tower's own Retry, each try a linked span.

use std::{any::Any, time::Duration};
use throughline_core::{BoxError, Rejected};
use throughline_trace::{Attempt, AttemptLayer};
use tokio::time::{Sleep, sleep};
use tower::retry::{Policy, Retry};
use tower_layer::Layer;

/// Retries inside one delivery: tower's own [`Retry`] around a layer that gives every try after the first a span,
/// child of the process span and linked to the try before.
///
/// Any [`Policy`] works. While it waits between tries the message keeps its permit; for waits of more than a few
/// seconds answer with an error or [`Settlement::retry_after`](crate::Settlement::retry_after) and let the worker
/// park the message.
#[derive(Clone, Debug)]
pub struct RetryLayer<P> {
    policy: P,
    attempt: AttemptLayer,
}

impl<P> RetryLayer<P> {
    /// With this policy.
    pub fn new(policy: P) -> Self {
        RetryLayer { policy, attempt: AttemptLayer::new() }
    }
}

impl<P: Clone, S> Layer<S> for RetryLayer<P> {
    type Service = Retry<P, Attempt<S>>;

    fn layer(&self, inner: S) -> Self::Service {
        Retry::new(self.policy.clone(), self.attempt.layer(inner))
    }
}

/// A policy for [`RetryLayer`]: every error but a rejection, with delays that double, give or take a quarter.
#[derive(Clone, Debug)]
pub struct Backoff {
    left: u32,
    next: Duration,
    longest: Duration,
}

impl Backoff {
    /// At most this many retries, the first after 100 ms, none later than 10 s after the one before.
    pub const fn exponential(retries: u32) -> Self {
        Backoff { left: retries, next: Duration::from_millis(100), longest: Duration::from_secs(10) }
    }

    /// How long to wait before the first retry.
    #[must_use]
    pub const fn starting_at(mut self, first: Duration) -> Self {
        self.next = first;
        self
    }

    /// The longest wait.
    #[must_use]
    pub const fn at_most(mut self, longest: Duration) -> Self {
        self.longest = longest;
        self
    }
}

/// For a message, a batch, or whatever else can be cloned.
impl<R: Clone, Res, E: 'static> Policy<R, Res, E> for Backoff {
    type Future = Sleep;

    fn retry(&mut self, _: &mut R, result: &mut Result<Res, E>) -> Option<Sleep> {
        let error: &dyn Any = result.as_ref().err()?;
        let boxed = error.downcast_ref::<BoxError>();
        if self.left == 0 || error.is::<Rejected>() || boxed.is_some_and(|error| error.is::<Rejected>()) {
            return None;
        }
        self.left -= 1;
        let wait = self.next;
        self.next = wait.saturating_mul(2).min(self.longest);
        Some(sleep(jitter(wait)))
    }

    fn clone_request(&mut self, request: &R) -> Option<R> {
        Some(request.clone())
    }
}

/// `first`, doubled so many times, at most `longest`; give or take a quarter.
pub(crate) fn doubled(first: Duration, longest: Duration, times: u32) -> Duration {
    jitter(first.saturating_mul(1 << times.min(20)).min(longest))
}

/// Give or take a quarter, so that what failed together does not come again together.
fn jitter(wait: Duration) -> Duration {
    wait.mul_f64(0.75 + fastrand::f64() / 2.0)
}
