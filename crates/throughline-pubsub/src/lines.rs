//! How the clones of one sink speak to the client.
//!
//! What the client does not do, and what is done about it here (google-cloud-pubsub 1.7):
//! - Its queue has no bound: a place is taken before a message is given to it.
//! - It has a task for each ordering key that it ever saw, and never ends one. So keys are spread over generations of
//!   publishers: after [`KEYS`] of them a new one is begun, and the old one ends with the last message that it has open.
//! - After an error it pauses a key until it is told to go on, but the error is answered before the pause begins: told at
//!   once, it may forget that. So a key that failed goes on in a new generation, where it was never paused.

use crate::{
    PubSub,
    errors::{self, Action},
    names::Kind,
};
use google_cloud_pubsub::{
    client::{BasePublisher, Publisher},
    error::PublishError,
    model::Message as Native,
    publisher::PublishFuture,
};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use throughline_core::{Error, ErrorKind, Place, Receipt, SendFuture, Unconfirmed};
use tokio::runtime::Handle;

/// Keys of one generation. Each costs about 4 KiB until the generation ends.
const KEYS: usize = 10_000;

/// What the clones of one sink share.
pub(crate) struct Lines {
    pubsub: PubSub,
    topic: String,
    linger: Duration,
    /// Keys of one generation.
    keys: usize,
    state: Mutex<Option<State>>,
    /// Clients so far.
    clients: AtomicUsize,
}

/// The client, once it is there.
struct State {
    /// Which client it is.
    number: usize,
    /// The topic's full name.
    topic: Arc<str>,
    base: BasePublisher,
    /// For what has no key.
    unordered: Publisher,
    /// The newest generation for keys.
    ordered: Publisher,
    /// Keys that were begun on it.
    begun: usize,
    open: HashMap<String, Key>,
}

/// An ordering key with messages that are not answered yet.
struct Key {
    /// The generation that they were given to: another one could overtake it.
    publisher: Publisher,
    open: usize,
    /// One failed, and none may be sent before the rest of them has failed too.
    failed: bool,
}

impl Lines {
    pub(crate) fn new(pubsub: PubSub, topic: String, linger: Duration) -> Self {
        Lines { pubsub, topic, linger, keys: KEYS, state: Mutex::default(), clients: AtomicUsize::new(0) }
    }

    fn state(&self) -> MutexGuard<'_, Option<State>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The topic's full name, once there is a client.
    pub(crate) fn topic(&self) -> Option<Arc<str>> {
        self.state().as_ref().map(|state| state.topic.clone())
    }

    /// Makes the client, unless another clone was first.
    ///
    /// # Errors
    /// `Config` for a setting or outside a tokio runtime, `Denied` where no credentials can be made.
    pub(crate) async fn connect(self: Arc<Self>) -> Result<(), Error> {
        self.runtime()?;
        let topic: Arc<str> = self.pubsub.full_name(Kind::Topic, &self.topic)?.into();
        let base = self.pubsub.connector()?.publisher(&topic).await?;
        self.state().get_or_insert_with(|| State {
            number: self.clients.fetch_add(1, Relaxed),
            unordered: publisher(&base, &topic, self.linger),
            ordered: publisher(&base, &topic, self.linger),
            topic,
            base,
            begun: 0,
            open: HashMap::new(),
        });
        Ok(())
    }

    /// Gives a message to the client. `unconfirmed` is answered, and `place` is free, when it is known what became of it.
    ///
    /// # Errors
    /// What is not worth a task: there is no client any more, or one before it with its key has failed.
    pub(crate) fn send(
        self: &Arc<Self>,
        native: Native,
        place: Place,
        begin: impl FnOnce() -> (Unconfirmed, SendFuture),
    ) -> Result<SendFuture, Error> {
        let runtime = self.runtime()?;
        // Under one lock, so that what is sent one after the other stays so also where the generation changes; and not
        // longer, since a runtime that has ended drops what it is given, which asks for the lock.
        let (published, open) = {
            let mut state = self.state();
            let state = state.as_mut().ok_or_else(|| over(&self.topic))?;
            let (client, topic, key) = (state.number, state.topic.clone(), native.ordering_key.clone());
            let publisher = self.line(state, &key).ok_or_else(|| held_back(&topic))?;
            (publisher.publish(native), Open { lines: self.clone(), client, topic, key, failed: true })
        };
        let (unconfirmed, future) = begin();
        runtime.spawn(open.confirm(published, place, unconfirmed));
        Ok(future)
    }

    /// What the client's tasks run on.
    fn runtime(&self) -> Result<Handle, Error> {
        Handle::try_current().map_err(|error| {
            Error::new(ErrorKind::Config, &*self.topic, "send from within a tokio runtime").with_source(error)
        })
    }

    /// The publisher for the next message of this key, which is counted; `None` while it has failed.
    fn line<'s>(&self, state: &'s mut State, key: &str) -> Option<&'s Publisher> {
        if key.is_empty() {
            return Some(&state.unordered);
        }
        if !state.open.contains_key(key) {
            if state.begun >= self.keys {
                // The one before sends what it has, and ends with the last key that has something open there.
                state.ordered = publisher(&state.base, &state.topic, self.linger);
                state.begun = 0;
            }
            state.begun += 1;
            state
                .open
                .insert(key.to_owned(), Key { publisher: state.ordered.clone(), open: 0, failed: false });
        }
        let key = state.open.get_mut(key).filter(|key| !key.failed)?;
        key.open += 1;
        Some(&key.publisher)
    }

    fn answered(&self, client: usize, key: &str, failed: bool) {
        let mut state = self.state();
        let Some(state) = state.as_mut().filter(|state| state.number == client && !key.is_empty()) else {
            return;
        };
        if failed {
            // The newest has this key paused.
            state.begun = self.keys;
        }
        if let Some(known) = state.open.get_mut(key) {
            known.open -= 1;
            known.failed |= failed;
            if known.open == 0 {
                state.open.remove(key);
            }
        }
    }

    /// The runtime of this client has ended: the next that gets ready makes another one.
    fn forget(&self, client: usize) {
        let mut state = self.state();
        if state.as_ref().is_some_and(|state| state.number == client) {
            *state = None;
        }
    }
}

fn publisher(base: &BasePublisher, topic: &str, linger: Duration) -> Publisher {
    base.publisher(topic).set_delay_threshold(linger).build()
}

/// A message that the client has. Also where its task ends with its runtime, its key is not open for ever.
struct Open {
    lines: Arc<Lines>,
    client: usize,
    topic: Arc<str>,
    key: String,
    failed: bool,
}

impl Open {
    async fn confirm(mut self, published: PublishFuture, place: Place, unconfirmed: Unconfirmed) {
        let answer = published.await;
        self.failed = answer.is_err();
        let answer = answer.map(Receipt::with_id).map_err(|error| match error {
            PublishError::Rpc(error) => errors::from_gax(&error, Action::Publish, &self.topic),
            PublishError::OrderingKeyPaused => held_back(&self.topic),
            _ => {
                self.lines.forget(self.client);
                over(&self.topic)
            }
        });
        // Whoever hears of a failure may send again at once.
        drop((self, place));
        unconfirmed.answer(answer);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.lines.answered(self.client, &self.key, self.failed);
    }
}

fn held_back(topic: &str) -> Error {
    let remedy =
        "it was not sent, since one before it with the same key failed: send that one again, then this";
    Error::new(ErrorKind::Broker, topic, remedy)
}

fn over(topic: &str) -> Error {
    Error::new(
        ErrorKind::Closed,
        topic,
        "the runtime of its client ended before Pub/Sub confirmed: send it again",
    )
}
