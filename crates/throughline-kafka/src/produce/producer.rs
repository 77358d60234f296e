//! The one producer of a [`Kafka`](crate::Kafka) handle, and the thread that serves its delivery reports.

use crate::{
    client::{errors, oauth::Tokens},
    headers,
    produce::{limits::Limits, pending::Pending, reports::Reports},
};
use rdkafka::{
    ClientConfig,
    error::KafkaError,
    producer::{BaseProducer, BaseRecord, Producer as _, PurgeConfig},
    types::RDKafkaErrorCode as Code,
};
use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use throughline_core::{
    Destination, Error, ErrorKind, Flow, Header, Headers, Message, Place, SendFuture, Sends,
};

/// The most that may be under way, below what the client itself takes (so that it never refuses).
const IN_FLIGHT: usize = 10_000;
const IN_FLIGHT_BYTES: usize = 64 * 1024 * 1024;

/// How often the thread looks whether it is still needed.
const POLL: Duration = Duration::from_millis(100);

/// A producer that failed for good is replaced only after this time, so that a cause that stays is not met with a new
/// client for each send.
const REPLACE_AFTER: Duration = Duration::from_secs(1);

/// The place of a handle's producer: empty until the first send, and again after a fatal error.
#[derive(Debug, Default)]
pub(crate) struct ProducerSlot(Mutex<Option<Arc<Producer>>>);

/// The client's own.
pub(crate) type Client = BaseProducer<Reports>;

pub(crate) struct Producer {
    client: Arc<Client>,
    pub(crate) flow: Arc<Flow>,
    born: Instant,
    /// Nobody holds this producer any more.
    abandoned: Arc<AtomicBool>,
}

impl ProducerSlot {
    /// The producer, made now if there is none that can send.
    pub(crate) fn get(
        &self,
        config: impl FnOnce() -> Result<ClientConfig, Error>,
        tokens: Option<&Tokens>,
    ) -> Result<Arc<Producer>, Error> {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*slot {
            Some(producer) if !producer.is_replaceable() => Ok(producer.clone()),
            _ => {
                let producer = Arc::new(Producer::start(&config()?, tokens)?);
                *slot = Some(producer.clone());
                Ok(producer)
            }
        }
    }
}

impl Producer {
    pub(crate) fn start(config: &ClientConfig, tokens: Option<&Tokens>) -> Result<Self, Error> {
        let servers = config.get("bootstrap.servers").unwrap_or_default().to_owned();
        let client = |error| errors::of_config(error, &servers, config);
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
        let transactional = config.get("transactional.id").is_some();
        let reports = Reports::new(max_message, Limits::new(config.clone()), tokens.cloned(), transactional);
        let producer: Arc<BaseProducer<Reports>> =
            Arc::new(config.create_with_context(reports).map_err(client)?);
        producer.context().introduce(&producer);
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
        Ok(Producer { client: producer, flow, born: Instant::now(), abandoned })
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Hands a message to the client. The answer comes in any case.
    pub(crate) fn send(
        &self,
        message: &Message,
        destination: &Arc<Destination>,
        place: Place,
        sends: &Sends,
    ) -> SendFuture {
        let (pending, future) = Pending::new(destination, message, place, sends);
        self.enqueue(message, &destination.name, pending);
        future
    }

    fn enqueue(&self, message: &Message, topic: &str, pending: Box<Pending>) {
        let Some((error, pending)) = self.offer(message, message.headers(), topic, pending) else { return };
        let is_field = |header: &Header| header.dead_letter_field().is_some();
        // A dead letter is what was received: nobody can make it smaller, and it would fail for ever.
        let too_large = errors::code(&error) == Code::MessageSizeTooLarge;
        let refused = if too_large && message.headers().iter().any(is_field) {
            tracing::warn!(topic, "a dead letter is as large as is sent: why it failed is not written to it");
            let own = message.headers().iter().filter(|header| !is_field(header)).cloned().collect();
            self.offer(message, &own, topic, pending)
        } else {
            Some((error, pending))
        };
        if let Some((error, pending)) = refused {
            self.client.context().refuse(*pending, error);
        }
    }

    /// Gives it to the client, with these headers; gives back what the client does not take.
    fn offer(
        &self,
        message: &Message,
        headers: &Headers,
        topic: &str,
        pending: Box<Pending>,
    ) -> Option<(KafkaError, Box<Pending>)> {
        let (headers, time) =
            match (headers::to_record(headers, topic), headers::to_timestamp(message.time(), topic)) {
                (Ok(headers), Ok(time)) => (headers, time),
                (Err(error), _) | (_, Err(error)) => {
                    self.client.context().fail(*pending, error);
                    return None;
                }
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
        let refused = self.client.send(record).err();
        refused.map(|(error, record)| (error, record.delivery_opaque))
    }

    /// Whether it takes nothing any more, ever.
    pub(crate) fn is_dead(&self) -> bool {
        self.client.context().is_dead()
    }

    fn is_replaceable(&self) -> bool {
        self.is_dead() && self.born.elapsed() >= REPLACE_AFTER
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.abandoned.store(true, Ordering::Release);
    }
}

/// Serves delivery reports until nobody can send any more and everything was answered: by the broker, or after
/// `message.timeout.ms` by the client. Dropping the client any sooner would throw away what it still has.
fn serve(producer: &BaseProducer<Reports>, abandoned: &AtomicBool) {
    while !abandoned.load(Ordering::Acquire) || producer.in_flight_count() > 0 {
        producer.poll(POLL);
        if producer.context().give_up() {
            producer.purge(PurgeConfig::default().queue().inflight());
        }
    }
    let failed = producer.context().unheard();
    if failed > 0 {
        tracing::error!(failed, "messages were not confirmed, and their sends were not awaited");
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("flow", &self.flow).finish_non_exhaustive()
    }
}
