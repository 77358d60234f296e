//! What a user wants to be told of: partitions that come and go.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// A user's function over partitions, each as topic and number.
type Hook = Arc<dyn Fn(&[(&str, i32)]) + Send + Sync>;

#[derive(Clone, Default)]
pub(crate) struct Hooks {
    pub(crate) assigned: Option<Hook>,
    pub(crate) revoked: Option<Hook>,
}

impl Hooks {
    /// Calls one of them. A panic in it costs that call and nothing else.
    pub(crate) fn call(hook: Option<&Hook>, partitions: &[(&str, i32)]) {
        if let Some(hook) = hook
            && !partitions.is_empty()
            && catch_unwind(AssertUnwindSafe(|| hook(partitions))).is_err()
        {
            tracing::error!("a hook for assigned or revoked partitions panicked");
        }
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (assigned, revoked) = (self.assigned.is_some(), self.revoked.is_some());
        f.debug_struct("Hooks").field("assigned", &assigned).field("revoked", &revoked).finish()
    }
}
