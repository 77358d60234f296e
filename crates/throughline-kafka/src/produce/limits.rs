//! How much a topic takes at once, asked only after its broker refused something for its size.

use crate::admin;
use rdkafka::ClientConfig;
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use throughline_core::ByteString;

/// How long an answer counts: somebody may change the topic.
const FRESH: Duration = Duration::from_secs(60);

/// How long those that were refused wait for the number; without one the error says less.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The `max.message.bytes` of the topics that refused something.
pub(crate) struct Limits {
    config: ClientConfig,
    topics: Mutex<HashMap<ByteString, Limit>>,
}

/// Wants to hear a topic's limit, if it can be had.
type Listener = Box<dyn FnOnce(Option<usize>) + Send>;

enum Limit {
    /// A thread is on its way.
    Asking(Vec<Listener>),
    Known(Option<usize>, Instant),
}

impl Limits {
    pub(crate) fn new(config: ClientConfig) -> Arc<Self> {
        Arc::new(Limits { config, topics: Mutex::default() })
    }

    /// Tells the topic's limit, now or from a thread that asks for it once for all who want to know.
    pub(crate) fn tell(self: &Arc<Self>, topic: &ByteString, listener: Listener) {
        let mut topics = self.topics();
        match topics.get_mut(topic) {
            Some(Limit::Asking(listeners)) => return listeners.push(listener),
            Some(Limit::Known(bytes, at)) if at.elapsed() < FRESH => {
                let bytes = *bytes;
                drop(topics);
                return listener(bytes);
            }
            _ => topics.insert(topic.clone(), Limit::Asking(vec![listener])),
        };
        drop(topics);
        let (limits, asked) = (self.clone(), topic.clone());
        let ask = move || limits.answer(&asked, admin::topic_limit(&limits.config, &asked, TIMEOUT));
        if std::thread::Builder::new().name("throughline-kafka-limit".into()).spawn(ask).is_err() {
            self.answer(topic, None);
        }
    }

    fn answer(&self, topic: &ByteString, bytes: Option<usize>) {
        let before = self.topics().insert(topic.clone(), Limit::Known(bytes, Instant::now()));
        if let Some(Limit::Asking(listeners)) = before {
            listeners.into_iter().for_each(|listener| listener(bytes));
        }
    }

    fn topics(&self) -> MutexGuard<'_, HashMap<ByteString, Limit>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limits").finish_non_exhaustive()
    }
}
