//! The one producer of a [`Kafka`](crate::Kafka) handle, and the thread that serves its delivery reports.

use crate::{
    context, errors,
    flow::{Flow, Place},
    headers,
};
use rdkafka::{
    ClientConfig, ClientContext, Message as _,
    config::RDKafkaLogLevel,
    error::KafkaError,
    message::DeliveryResult,
    producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext},
    types::RDKafkaErrorCode as Code,
};
use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use throughline_core::{Error, ErrorKind, Message, Receipt};
use tokio::sync::{Notify, oneshot};

/// The most that may be under way, below what the client itself takes (so that it never refuses).
const IN_FLIGHT: usize = 10_000;
const IN_FLIGHT_BYTES: usize = 64 * 1024 * 1024;

/// How often the thread looks whether it is still needed.
const POLL: Duration = Duration::from_millis(100);

/// How long the thread of a producer that nobody holds any more goes on to deliver what it has.
const LAST_FLUSH: Duration = Duration::from_secs(10);

/// The place of a handle's producer: empty until the first send, and again after a fatal error.
#[derive(Debug, Default)]
pub(crate) struct ProducerSlot(Mutex<Option<Arc<Producer>>>);

pub(crate) struct Producer {
    client: Arc<BaseProducer<Reports>>,
    pub(crate) flow: Arc<Flow>,
    /// The client's own limit, for the error that names it.
    max_message: String,
    /// Nobody holds this producer any more.
    abandoned: Arc<AtomicBool>,
    dead: Arc<AtomicBool>,
}

/// What is known of the sends of one sink and its clones.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    in_flight: AtomicUsize,
    /// Failed sends that nobody awaited.
    unseen: AtomicUsize,
    idle: Notify,
}

/// One message under way.
pub(crate) struct Pending {
    answer: oneshot::Sender<Result<Receipt, Error>>,
    ledger: Arc<Ledger>,
    topic: Arc<str>,
    size: usize,
    max_message: String,
    _place: Place,
}

pub(crate) struct Reports {
    dead: Arc<AtomicBool>,
}

impl ProducerSlot {
    /// The producer, made now if there is none.
    pub(crate) fn get(
        &self,
        config: impl FnOnce() -> Result<ClientConfig, Error>,
    ) -> Result<Arc<Producer>, Error> {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*slot {
            Some(producer) if !producer.dead.load(Ordering::Acquire) => Ok(producer.clone()),
            _ => {
                let producer = Arc::new(Producer::start(&config()?)?);
                *slot = Some(producer.clone());
                Ok(producer)
            }
        }
    }
}

impl Producer {
    fn start(config: &ClientConfig) -> Result<Self, Error> {
        let servers = config.get("bootstrap.servers").unwrap_or_default().to_owned();
        let dead = Arc::<AtomicBool>::default();
        let client = |error| errors::from_client(error, &servers);
        let native = config.create_native_config().map_err(client)?;
        let limit = |name: &str, ours: usize| {
            let theirs = native.get(name).ok().and_then(|value| value.parse::<usize>().ok());
            // 0 means no bound.
            theirs.filter(|n| *n > 0).map_or(ours, |n| ours.min(n))
        };
        // Half of what the client takes: it counts a message until its whole batch of reports was served, and we free
        // its place before that.
        let messages = IN_FLIGHT.min(limit("queue.buffering.max.messages", usize::MAX) / 2);
        let kbytes = limit("queue.buffering.max.kbytes", usize::MAX / 2048);
        let max_message = native.get("message.max.bytes").unwrap_or_default();
        let producer: Arc<BaseProducer<Reports>> =
            Arc::new(config.create_with_context(Reports { dead: dead.clone() }).map_err(client)?);
        let abandoned = Arc::<AtomicBool>::default();
        let (served, stop) = (producer.clone(), abandoned.clone());
        std::thread::Builder::new()
            .name("throughline-kafka-send".into())
            .spawn(move || serve(&served, &stop))
            .map_err(|error| {
                Error::new(ErrorKind::Config, "thread", "the producer's thread could not be started")
                    .with_source(error)
            })?;
        let flow = Arc::new(Flow::new(messages, IN_FLIGHT_BYTES.min(kbytes * 1024 / 2)));
        Ok(Producer { client: producer, flow, max_message, abandoned, dead })
    }

    /// Hands a message to the client. The answer comes in any case.
    pub(crate) fn send(
        &self,
        message: &Message,
        topic: &Arc<str>,
        place: Place,
        ledger: &Arc<Ledger>,
    ) -> oneshot::Receiver<Result<Receipt, Error>> {
        let (answer, receiver) = oneshot::channel();
        ledger.in_flight.fetch_add(1, Ordering::AcqRel);
        let mut pending = Box::new(Pending {
            answer,
            ledger: ledger.clone(),
            topic: topic.clone(),
            size: message.size(),
            max_message: self.max_message.clone(),
            _place: place,
        });
        pending._place.fill(pending.size);
        if let Err((error, pending)) = self.enqueue(message, topic, pending) {
            pending.answer(Err(error));
        }
        receiver
    }

    fn enqueue(
        &self,
        message: &Message,
        topic: &str,
        pending: Box<Pending>,
    ) -> Result<(), (Error, Box<Pending>)> {
        let (headers, time) = match (
            headers::to_record(message.headers(), topic),
            headers::to_timestamp(message.time(), topic),
        ) {
            (Ok(headers), Ok(time)) => (headers, time),
            (Err(error), _) | (_, Err(error)) => return Err((error, pending)),
        };
        let record = BaseRecord::<[u8], [u8], Box<Pending>> {
            topic,
            partition: message.partition(),
            payload: message.payload_opt().map(|payload| &payload[..]),
            key: message.key().map(|key| &key[..]),
            timestamp: time,
            headers,
            delivery_opaque: pending,
        };
        self.client.send(record).map_err(|(error, record)| {
            let pending = record.delivery_opaque;
            (pending.error(error), pending)
        })
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.abandoned.store(true, Ordering::Release);
    }
}

/// Serves delivery reports until nobody can send any more and everything was answered.
fn serve(producer: &BaseProducer<Reports>, abandoned: &AtomicBool) {
    let mut until: Option<Instant> = None;
    loop {
        producer.poll(POLL);
        if abandoned.load(Ordering::Acquire) {
            let until = *until.get_or_insert_with(|| Instant::now() + LAST_FLUSH);
            if producer.in_flight_count() == 0 || Instant::now() >= until {
                // Dropping the client purges what is left, each with an error to who waits for it.
                return;
            }
        }
    }
}

impl Ledger {
    /// Waits until nothing is under way, and says how many failed with nobody looking since the last time.
    pub(crate) async fn settle(&self) -> usize {
        loop {
            let idle = self.idle.notified();
            if self.in_flight.load(Ordering::Acquire) == 0 {
                return self.unseen.swap(0, Ordering::AcqRel);
            }
            idle.await;
        }
    }
}

impl Pending {
    fn answer(self, result: Result<Receipt, Error>) {
        let failed = result.is_err();
        if self.answer.send(result).is_err() && failed {
            self.ledger.unseen.fetch_add(1, Ordering::AcqRel);
        }
        if self.ledger.in_flight.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.ledger.idle.notify_waiters();
        }
    }

    fn error(&self, error: KafkaError) -> Error {
        let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
        match errors::meaning(code).0 {
            ErrorKind::TooLarge => Error::new(
                ErrorKind::TooLarge,
                &*self.topic,
                format!(
                    "the message has {} bytes; `message.max.bytes` here is {}, the topic's own `max.message.bytes` may be \
                     less and counts for a whole batch: raise it, lower `batch.size`, or send less",
                    self.size, self.max_message
                ),
            )
            .with_source(error),
            _ => errors::from_client(error, &self.topic),
        }
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<Pending>;

    fn delivery(&self, result: &DeliveryResult<'_>, pending: Box<Pending>) {
        let result = match result {
            Ok(record) => Ok(Receipt::at(record.partition(), record.offset())),
            Err((error, _)) => {
                if matches!(
                    error.rdkafka_error_code(),
                    Some(Code::Fatal | Code::Fenced | Code::ProducerFenced)
                ) {
                    self.dead.store(true, Ordering::Release);
                }
                Err(pending.error(error.clone()))
            }
        };
        pending.answer(result);
    }
}

impl ClientContext for Reports {
    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(Code::Fatal) {
            // A producer does not come back from this: the next send makes a new one.
            self.dead.store(true, Ordering::Release);
        }
        tracing::debug!(target: "librdkafka", %error, reason, "client error");
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        context::log(level, facility, text);
    }

    fn stats_raw(&self, _: &[u8]) {}
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("flow", &self.flow).finish_non_exhaustive()
    }
}
