//! A broker that several handles share.

use crate::{broker::Broker, effects::Effects};
use std::sync::{Mutex, PoisonError};

/// The broker behind its lock.
pub(crate) struct Shared(Mutex<Broker>);

impl Shared {
    pub(crate) fn new() -> Self {
        Shared(Mutex::new(Broker::new()))
    }

    /// Changes the broker under its lock; what that causes outside of it is done when the lock is free again.
    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut Broker, &mut Effects) -> T) -> T {
        let mut fx = Effects::default();
        let result = change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner), &mut fx);
        fx.run();
        result
    }
}
