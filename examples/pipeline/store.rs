//! The second worker: keeps the results.

use crate::classify::Classified;
use std::{
    collections::HashSet,
    fs::File,
    io::{self, Write},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use throughline::{BoxError, BoxSubscription, Json, State, Worker, handler_with};
use tokio::sync::watch;
use tower::ServiceBuilder;

/// Results as JSON lines. Delivery is at least once, so a document that comes again is known by its id and not
/// written twice.
#[derive(Clone)]
pub(crate) struct Store(Arc<Inner>);

struct Inner {
    file: Mutex<(File, HashSet<String>)>,
    stored: watch::Sender<usize>,
}

impl Store {
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let file = File::create(path)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
        Ok(Store(Arc::new(Inner { file: Mutex::new((file, HashSet::new())), stored: watch::Sender::new(0) })))
    }

    /// How many documents are stored, and their changes.
    pub(crate) fn watch(&self) -> watch::Receiver<usize> {
        self.0.stored.subscribe()
    }

    fn add(&self, result: &Classified) -> io::Result<()> {
        let mut guard = self.lock();
        let (file, known) = &mut *guard;
        if known.contains(&result.id) {
            return Ok(());
        }
        let mut line = serde_json::to_vec(result)?;
        line.push(b'\n');
        file.write_all(&line)?;
        known.insert(result.id.clone());
        self.0.stored.send_replace(known.len());
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, (File, HashSet<String>)> {
        self.0.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn worker(subscription: BoxSubscription, store: Store) -> Worker {
    let stack = move || {
        ServiceBuilder::new().timeout(Duration::from_secs(10)).service(handler_with(store.clone(), save))
    };
    Worker::new("store", subscription, stack).in_flight(16)
}

async fn save(Json(result): Json<Classified>, State(store): State<Store>) -> Result<(), BoxError> {
    tokio::task::spawn_blocking(move || store.add(&result)).await??;
    Ok(())
}
