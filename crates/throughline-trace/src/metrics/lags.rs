//! How far one source is behind, by partition.

use crate::template;
use opentelemetry::KeyValue;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use throughline_core::{ByteString, Destination};

/// The lag that was said last of each partition that a source has. What it no longer has is somebody else's to tell.
#[derive(Default)]
pub(crate) struct Lags(Mutex<HashMap<(ByteString, i32), Lag>>);

struct Lag {
    destination: Arc<Destination>,
    messages: i64,
}

impl Lags {
    pub(super) fn set(&self, destination: &Arc<Destination>, partition: i32, messages: i64) {
        let lag = Lag { destination: destination.clone(), messages };
        self.lock().insert((destination.name.clone(), partition), lag);
    }

    pub(super) fn forget(&self, revoked: &[(Arc<Destination>, i32)]) {
        let mut lags = self.lock();
        for (destination, partition) in revoked {
            lags.remove(&(destination.name.clone(), *partition));
        }
    }

    pub(super) fn each(&self, mut tell: impl FnMut(i64, &[KeyValue])) {
        for ((_, partition), lag) in &*self.lock() {
            let mut attributes = template::of_metrics(&lag.destination);
            template::push_partition(*partition, &mut attributes);
            tell(lag.messages, &attributes);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(ByteString, i32), Lag>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
