//! Waiting for what must come, with a bound far beyond what it takes.

use std::{future::Future, time::Duration};

/// Longer than anything here takes on a busy machine.
pub const LONG: Duration = Duration::from_secs(60);

/// How often a condition that tells nobody of its change is looked at.
const LOOK: Duration = Duration::from_millis(2);

/// Fails the scenario if it takes longer than anything may.
pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    tokio::time::timeout(LONG, future).await.unwrap_or_else(|_| panic!("{what}: not after {LONG:?}"))
}

/// Waits until it is so.
pub async fn until(what: &str, is_so: impl Fn() -> bool) {
    within(what, async {
        while !is_so() {
            tokio::time::sleep(LOOK).await;
        }
    })
    .await;
}

/// Waits until what `look` sees is so.
pub async fn eventually<T, F: Future<Output = T>>(
    what: &str,
    look: impl Fn() -> F,
    is_so: impl Fn(&T) -> bool,
) -> T {
    within(what, async {
        loop {
            let seen = look().await;
            if is_so(&seen) {
                return seen;
            }
            tokio::time::sleep(LOOK * 10).await;
        }
    })
    .await
}
