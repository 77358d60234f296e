//! Transactional producers: one for each partition that is consumed, and the transactions it runs.
//!
//! The identity of such a producer (`transactional.id`) is that of the partition, not of the member. Who is given the
//! partition takes the identity over first, which ends what the owner before had begun and shuts it out, and only then
//! asks for the committed offset: nothing can change it any more.

use crate::{
    Kafka,
    client::{errors, oauth::Tokens},
    consume::{
        context::Context,
        exchange::Exchange,
        partitions::Partition,
        positions::Wanted,
        topic_ids::{self, Mark},
    },
    produce::producer::Producer,
};
use bytes::Bytes;
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, KafkaResult, RDKafkaError},
    producer::Producer as _,
    types::RDKafkaErrorCode as Code,
};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use throughline_core::{Error, ErrorKind, Event, Observer, Settled, Settlement};

/// How long one call of the client may take before it is made again.
const STEP: Duration = Duration::from_secs(10);

/// How long the end of a transaction is tried. After that its outcome is unknown to us, and the source ends: the broker
/// tells the outcome to who owns the partition next.
const UNKNOWN: Duration = Duration::from_secs(60);

/// Between two tries.
const AGAIN: Duration = Duration::from_millis(100);

/// How many producers are made at once.
const AT_ONCE: usize = 16;

/// Makes the producers of one source.
pub(crate) struct Transactions {
    /// What every `transactional.id` of it begins with.
    prefix: String,
    config: ClientConfig,
    tokens: Option<Tokens>,
    /// Made, and not yet taken.
    ready: Mutex<HashMap<(String, i32), Arc<Transactional>>>,
}

/// The producer of one partition.
pub(crate) struct Transactional {
    pub(crate) producer: Producer,
    /// One transaction at a time. Held by what ends one, too, which nobody may wait for any more.
    pub(crate) turn: Arc<tokio::sync::Mutex<()>>,
    /// It cannot go on.
    dead: AtomicBool,
}

/// A partition that is ours, with its producer: each of its messages has this among its extensions.
pub(crate) struct Owned {
    pub(crate) partition: Arc<Partition>,
    /// Which assignment of it.
    pub(crate) generation: u64,
    /// Of the topic.
    pub(crate) mark: Option<Mark>,
    pub(crate) by: Arc<Transactional>,
    pub(crate) consumer: Weak<BaseConsumer<Context>>,
    pub(crate) exchange: Arc<Exchange>,
    pub(crate) observer: Observer,
}

impl Transactions {
    pub(crate) fn new(kafka: &Kafka, group: &str, id: &str) -> Result<Self, Error> {
        let tokens = kafka.tokens().cloned();
        let prefix = format!("{id}/{group}");
        Ok(Transactions { prefix, config: kafka.transactional_config()?, tokens, ready: Mutex::default() })
    }

    /// Takes the identities of these partitions over. Blocks until the broker has ended what was open under them.
    pub(crate) fn prepare(&self, wanted: &[Wanted]) -> Result<(), Refused> {
        self.ready().clear();
        for some in wanted.chunks(AT_ONCE) {
            thread::scope(|scope| {
                let start = |wanted| thread::Builder::new().spawn_scoped(scope, move || self.start(wanted));
                let started: Vec<_> = some.iter().map(start).collect();
                started.into_iter().try_for_each(|thread| {
                    let ended = thread.map_err(|_| Refused::Code(Code::Fail))?.join();
                    ended.unwrap_or(Err(Refused::Code(Code::Fail)))
                })
            })?;
        }
        Ok(())
    }

    fn start(&self, wanted: &Wanted) -> Result<(), Refused> {
        let mut config = self.config.clone();
        config.set("transactional.id", format!("{}/{}/{}", self.prefix, wanted.topic, wanted.number));
        let producer = Producer::start(&config, self.tokens.as_ref()).map_err(Refused::Error)?;
        producer.client().init_transactions(STEP).map_err(|error| Refused::Code(errors::code(&error)))?;
        let made = Transactional { producer, turn: Arc::default(), dead: AtomicBool::new(false) };
        self.ready().insert((wanted.topic.clone(), wanted.number), Arc::new(made));
        Ok(())
    }

    /// The producer that was prepared for this partition.
    pub(crate) fn take(&self, topic: &str, number: i32) -> Option<Arc<Transactional>> {
        self.ready().remove(&(topic.to_owned(), number))
    }

    fn ready(&self) -> MutexGuard<'_, HashMap<(String, i32), Arc<Transactional>>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a producer could not be made.
pub(crate) enum Refused {
    /// By its settings.
    Error(Error),
    /// By the broker, perhaps only now.
    Code(Code),
}

impl Owned {
    /// Whether the partition is still ours.
    pub(crate) fn is_current(&self) -> bool {
        self.partition.generation() == self.generation
    }

    pub(crate) fn begin(&self) -> Result<(), Error> {
        if self.by.dead.load(Ordering::Acquire) {
            let remedy = "the transactional producer of this partition has failed; the source connects anew";
            return Err(Error::new(ErrorKind::Closed, self.name(), remedy));
        }
        self.client().begin_transaction().map_err(|error| self.failed(error))
    }

    /// Commits what was sent, and with it that everything below `offset` is done, which is these messages. Blocks.
    pub(crate) fn commit(&self, offset: i64, count: usize, contexts: &[Bytes]) -> Result<(), Error> {
        let since = Instant::now();
        let result = self.try_commit(offset);
        let (destination, answer) = (&self.partition.destination, result.as_ref().copied());
        let settled = Settled::new(destination, count, Settlement::Ack, answer, since.elapsed());
        self.observer.observe(Event::Settled(settled.contexts(contexts)));
        result
    }

    fn try_commit(&self, offset: i64) -> Result<(), Error> {
        let Some(consumer) = self.consumer.upgrade().filter(|_| self.is_current()) else {
            self.abort()?;
            let remedy = "the partition was given to another member; the transaction was aborted";
            return Err(Error::new(ErrorKind::LeaseLost, self.name(), remedy));
        };
        let committed = self.offsets(offset).and_then(|list| {
            until_known(|| {
                // Asked for each time: the generation goes on while we hold the partition.
                let group = consumer.group_metadata().ok_or(KafkaError::Canceled)?;
                self.client().send_offsets_to_transaction(&list, &group, STEP)
            })?;
            until_known(|| self.client().commit_transaction(STEP))
        });
        match committed {
            Ok(()) => {
                self.partition.cover(self.generation, offset);
                Ok(())
            }
            Err(KafkaError::Transaction(error)) if error.txn_requires_abort() => {
                self.abort()?;
                Err(errors::from_client(KafkaError::Transaction(error), &self.name()))
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Takes back what was sent. Blocks.
    pub(crate) fn abort(&self) -> Result<(), Error> {
        if self.by.dead.load(Ordering::Acquire) {
            return Ok(());
        }
        until_known(|| self.client().abort_transaction(STEP)).map_err(|error| self.failed(error))
    }

    /// The producer cannot go on, or nobody knows where it is: the next owner of its identity finds out.
    fn failed(&self, error: KafkaError) -> Error {
        self.by.dead.store(true, Ordering::Release);
        let typed = || errors::from_client(error.clone(), &self.name());
        if self.is_current() {
            let error = typed();
            self.exchange.fail(match error.kind() {
                // Taken over as partitions are: no reason to stay away, as it is for a member's own identity.
                ErrorKind::Fenced => {
                    let remedy = "another member took the partition over; the source connects anew";
                    Error::new(ErrorKind::LeaseLost, self.name(), remedy).with_source(error)
                }
                _ => error,
            });
        }
        typed()
    }

    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.partition.topic(), self.partition.number)
    }

    fn offsets(&self, offset: i64) -> KafkaResult<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        let at = (self.partition.topic(), self.partition.number);
        topic_ids::add(&mut list, at, Offset::Offset(offset), self.mark.as_ref())?;
        Ok(list)
    }

    fn client(&self) -> &crate::produce::producer::Client {
        self.by.producer.client()
    }
}

/// Makes a call again that has not ended: the client goes on where it was.
fn until_known(mut call: impl FnMut() -> KafkaResult<()>) -> KafkaResult<()> {
    let end = Instant::now() + UNKNOWN;
    let goes_on = |error: &RDKafkaError| error.is_retriable() && !error.is_fatal();
    loop {
        match call() {
            Err(KafkaError::Transaction(error)) if goes_on(&error) && Instant::now() < end => {}
            Err(KafkaError::Flush(Code::OperationTimedOut)) if Instant::now() < end => {}
            result => return result,
        }
        thread::sleep(AGAIN);
    }
}
