//! What the client says of the messages of a producer, and of the producer itself.

use crate::{context, errors, limits::Limits, pending::Pending};
use rdkafka::{
    ClientContext, Message as _,
    config::RDKafkaLogLevel,
    error::KafkaError,
    message::DeliveryResult,
    producer::{BaseProducer, Producer as _, ProducerContext},
    types::RDKafkaErrorCode as Code,
};
use std::sync::{
    Arc, Mutex, OnceLock, PoisonError, Weak,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};
use throughline_core::{Error, ErrorKind, Receipt};

/// Answers the sends of one producer.
pub(crate) struct Reports {
    /// The client's own limit, for the error that names it.
    max_message: String,
    limits: Arc<Limits>,
    client: OnceLock<Weak<BaseProducer<Reports>>>,
    /// Why this producer takes nothing any more, told to everything that it still has.
    end: Mutex<Option<(Code, String)>>,
    dead: AtomicBool,
    unheard: Arc<AtomicUsize>,
}

impl Reports {
    pub(crate) fn new(max_message: String, limits: Arc<Limits>) -> Self {
        Reports {
            max_message,
            limits,
            client: OnceLock::new(),
            end: Mutex::default(),
            dead: AtomicBool::new(false),
            unheard: Arc::default(),
        }
    }

    pub(crate) fn introduce(&self, client: &Arc<BaseProducer<Reports>>) {
        let _ = self.client.set(Arc::downgrade(client));
    }

    /// Whether the next send needs another producer.
    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    /// Why it takes nothing any more, once that is so. Only the client itself knows what its fatal error was.
    fn end(&self) -> Option<(Code, String)> {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        if end.is_none() {
            *end = self.client.get().and_then(Weak::upgrade).and_then(|client| client.client().fatal_error());
            self.dead.store(end.is_some(), Ordering::Release);
        }
        end.clone()
    }

    /// A message that the client did not take.
    pub(crate) fn refuse(&self, pending: Box<Pending>, error: KafkaError) {
        let error = match errors::code(&error) {
            Code::MessageSizeTooLarge => Error::new(
                ErrorKind::TooLarge,
                &*pending.topic,
                format!(
                    "the message has {} bytes, and `message.max.bytes` of this client is {}: raise it, or send less",
                    pending.size, self.max_message
                ),
            )
            .with_source(error),
            _ => self.error(&pending.topic, error),
        };
        self.fail(*pending, error);
    }

    pub(crate) fn fail(&self, pending: Pending, error: Error) {
        fail(pending, error, &self.unheard);
    }

    /// How many failures nobody heard.
    pub(crate) fn unheard(&self) -> usize {
        self.unheard.load(Ordering::Relaxed)
    }

    fn error(&self, topic: &str, error: KafkaError) -> Error {
        let ended = match errors::code(&error) {
            Code::PurgeQueue | Code::PurgeInflight | Code::Fatal => self.end(),
            _ => None,
        };
        match ended {
            Some((code, reason)) => errors::of_ended_producer(code, topic).with_source(reason),
            None => errors::from_client(error, topic),
        }
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<Pending>;

    fn delivery(&self, result: &DeliveryResult<'_>, pending: Box<Pending>) {
        let error = match result {
            Ok(record) => {
                pending.answer(Ok(Receipt::at(record.partition(), record.offset())));
                return;
            }
            Err((error, _)) => error.clone(),
        };
        match errors::code(&error) {
            Code::MessageSizeTooLarge | Code::MessageBatchTooLarge => {
                let (topic, unheard) = (pending.topic.clone(), self.unheard.clone());
                let told = move |limit| {
                    let typed = errors::too_large_for_topic(&pending.topic, pending.size, limit);
                    fail(*pending, typed.with_source(error), &unheard);
                };
                self.limits.tell(&topic, Box::new(told));
            }
            _ => {
                let error = self.error(&pending.topic, error);
                self.fail(*pending, error);
            }
        }
    }
}

impl ClientContext for Reports {
    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(Code::Fatal) {
            // A producer does not come back from this: the next send makes a new one.
            self.end();
        }
        tracing::debug!(target: "librdkafka", %error, reason, "client error");
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        context::log(level, facility, text);
    }

    fn stats_raw(&self, _: &[u8]) {}
}

fn fail(pending: Pending, error: Error, unheard: &AtomicUsize) {
    if !pending.answer(Err(error)) {
        unheard.fetch_add(1, Ordering::Relaxed);
    }
}
