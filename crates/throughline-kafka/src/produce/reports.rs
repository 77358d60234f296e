//! What the client says of the messages of a producer, and of the producer itself.

use crate::{
    client::{
        errors, log,
        oauth::Tokens,
        refusal::{is_away, refusal},
    },
    produce::{limits::Limits, pending::Pending},
};
use rdkafka::{
    ClientContext, Message as _,
    client::OAuthToken,
    config::RDKafkaLogLevel,
    error::KafkaError,
    message::DeliveryResult,
    producer::{BaseProducer, Producer as _, ProducerContext},
    types::RDKafkaErrorCode as Code,
};
use std::{
    error::Error as StdError,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use throughline_core::{Error, ErrorKind, Receipt};

/// How long a producer that has never reached a broker may be refused by one before what waits is told.
const REFUSED: Duration = Duration::from_secs(5);

/// Answers the sends of one producer.
pub(crate) struct Reports {
    /// The client's own limit, for the error that names it.
    max_message: String,
    limits: Arc<Limits>,
    tokens: Option<Tokens>,
    /// Whatever fails takes all of its transaction with it, and comes again: nothing of it is lost unseen.
    transactional: bool,
    client: OnceLock<Weak<BaseProducer<Reports>>>,
    /// Why this producer takes nothing any more, told to everything that it still has.
    end: Mutex<Option<(Code, String)>>,
    /// What keeps a producer that has confirmed nothing yet from its brokers, and since when.
    refused: Mutex<Option<(Code, String, Instant)>>,
    confirmed: AtomicBool,
    dead: AtomicBool,
    unheard: Arc<AtomicUsize>,
}

impl Reports {
    pub(crate) fn new(
        max_message: String,
        limits: Arc<Limits>,
        tokens: Option<Tokens>,
        transactional: bool,
    ) -> Self {
        Reports {
            max_message,
            limits,
            tokens,
            transactional,
            client: OnceLock::new(),
            end: Mutex::default(),
            refused: Mutex::default(),
            confirmed: AtomicBool::new(false),
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

    /// Ends a producer that is refused from its start on, for what waits would wait two minutes to hear less. Says whether
    /// it did so now.
    pub(crate) fn give_up(&self) -> bool {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((code, reason, _)) = refused.as_ref().filter(|(.., since)| since.elapsed() >= REFUSED)
        else {
            return false;
        };
        *self.end.lock().unwrap_or_else(PoisonError::into_inner) = Some((*code, reason.clone()));
        !self.dead.swap(true, Ordering::AcqRel)
    }

    /// The client says the same thing once in half a minute: it holds until it no longer gets even that far.
    fn note(&self, code: Code, reason: &str) {
        if self.confirmed.load(Ordering::Relaxed) || code == Code::AllBrokersDown {
            return;
        }
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        match refusal(code, reason) {
            Some(_) => {
                refused.get_or_insert_with(|| (code, reason.to_owned(), Instant::now()));
            }
            None if is_away(code, reason) => *refused = None,
            None => {}
        }
    }

    /// A message that the client did not take.
    pub(crate) fn refuse(&self, pending: Pending, error: KafkaError) {
        let error = match errors::code(&error) {
            Code::MessageSizeTooLarge => Error::new(
                ErrorKind::TooLarge,
                pending.topic(),
                format!(
                    "the message has {} bytes, and `message.max.bytes` of this client is {}: raise it, or send less",
                    pending.size, self.max_message
                ),
            )
            .with_source(error),
            _ => self.error(pending.topic(), error),
        };
        self.fail(pending, error);
    }

    pub(crate) fn fail(&self, pending: Pending, error: Error) {
        fail(pending, error, &self.unheard);
    }

    /// How many failures nobody heard, and nothing but their send could have told.
    pub(crate) fn unheard(&self) -> usize {
        if self.transactional { 0 } else { self.unheard.load(Ordering::Relaxed) }
    }

    fn error(&self, topic: &str, error: KafkaError) -> Error {
        let purged = matches!(errors::code(&error), Code::PurgeQueue | Code::PurgeInflight);
        let ended = if purged || errors::code(&error) == Code::Fatal { self.end() } else { None };
        match ended {
            None if purged && self.transactional => {
                let remedy = "it was aborted with its transaction, whose batch comes again";
                Error::new(ErrorKind::Closed, topic, remedy).with_source(error)
            }
            Some((code, reason)) => match refusal(code, &reason) {
                Some(refusal) => refusal.error(topic, reason),
                None => errors::of_ended_producer(code, topic).with_source(reason),
            },
            None => errors::from_client(error, topic),
        }
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<Pending>;

    fn delivery(&self, result: &DeliveryResult<'_>, pending: Box<Pending>) {
        let error = match result {
            Ok(record) => {
                if !self.confirmed.load(Ordering::Relaxed) {
                    self.confirmed.store(true, Ordering::Relaxed);
                    *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = None;
                }
                pending.answer(Ok(Receipt::at(record.partition(), record.offset())));
                return;
            }
            Err((error, record)) => {
                // Said of all that went in one batch: who has what is asked for is not who was meant.
                let innocent = match errors::code(error) {
                    Code::InvalidRecord => record.key().is_some(),
                    Code::InvalidTimestamp => !pending.timed,
                    _ => false,
                };
                if innocent {
                    KafkaError::MessageProduction(Code::InvalidDifferentRecord)
                } else {
                    error.clone()
                }
            }
        };
        match errors::code(&error) {
            Code::MessageSizeTooLarge | Code::MessageBatchTooLarge => {
                let (destination, unheard) = (pending.destination.clone(), self.unheard.clone());
                let told = move |limit| {
                    let typed = errors::too_large_for_topic(pending.topic(), pending.size, limit);
                    fail(*pending, typed.with_source(error), &unheard);
                };
                self.limits.tell(&destination.name, Box::new(told));
            }
            _ => {
                let error = self.error(pending.topic(), error);
                self.fail(*pending, error);
            }
        }
    }
}

impl ClientContext for Reports {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn StdError>> {
        Tokens::generate(self.tokens.as_ref())
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match errors::code(&error) {
            // A producer does not come back from this: the next send makes a new one.
            Code::Fatal => drop(self.end()),
            code => self.note(code, reason),
        }
        tracing::debug!(target: "librdkafka", %error, reason, "client error");
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        if log::hung_up(facility, text) {
            self.note(Code::BrokerTransportFailure, text);
        }
        log::pass_on(level, facility, text);
    }

    fn stats_raw(&self, _: &[u8]) {}
}

fn fail(pending: Pending, error: Error, unheard: &AtomicUsize) {
    if !pending.answer(Err(error)) {
        unheard.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use rdkafka::ClientConfig;
    use throughline_core::{Destination, Flow, Message, Place, Sends};

    #[test]
    fn what_is_aborted_with_its_transaction_is_not_missed() {
        let purged = |transactional| {
            let reports = Reports::new(String::new(), Limits::new(ClientConfig::new()), None, transactional);
            let place = || Place::new(Arc::new(Flow::new(1, 1)));
            let (to, message) = (Arc::new(Destination::new("kafka", "t")), Message::new("x"));
            let (awaited, answer) = Pending::new(&to, &message, place(), &Sends::default());
            let (dropped, _) = Pending::new(&to, &message, place(), &Sends::default());
            for pending in [awaited, dropped] {
                reports.refuse(*pending, KafkaError::MessageProduction(Code::PurgeQueue));
            }
            (answer.now_or_never().unwrap().unwrap_err().to_string(), reports.unheard())
        };
        let (text, missed) = purged(true);
        assert!(text.contains("aborted with its transaction") && missed == 0, "{text}, {missed}");
        let (text, missed) = purged(false);
        assert!(text.contains("client was closed") && missed == 1, "{text}, {missed}");
    }
}
