//! Topics and groups, as far as a worker's set-up and its tests need them.

use crate::{
    Kafka,
    client::{block_on::block_on, errors},
    consume::{connect, context::Context},
};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication, TopicResult},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    types::RDKafkaErrorCode as Code,
};
use std::{future::Future, time::Duration};
use throughline_core::{Error, ErrorKind};
use tokio::sync::oneshot;

/// How long a request may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Creates and deletes topics, and asks where a group is: made by [`Kafka::admin`].
///
/// Each request opens a client of its own on a thread of its own. Dropping a future does not undo its request.
#[derive(Clone, Debug)]
pub struct Admin(Kafka);

impl Admin {
    pub(crate) fn new(kafka: Kafka) -> Self {
        Admin(kafka)
    }

    /// Creates a topic with this many partitions and the broker's own replication. One that exists with as many
    /// partitions is left as it is.
    ///
    /// # Errors
    /// `Config` if it exists with another number of partitions or the name is refused, and what a connection may meet.
    pub async fn create_topic(&self, name: &str, partitions: i32) -> Result<(), Error> {
        self.create_topic_with(name, partitions, &[]).await
    }

    /// The same, with settings of the topic such as `("max.message.bytes", "1000")`.
    ///
    /// # Errors
    /// As [`create_topic`](Self::create_topic).
    pub async fn create_topic_with(
        &self,
        name: &str,
        partitions: i32,
        settings: &[(&str, &str)],
    ) -> Result<(), Error> {
        let (name, kafka) = (name.to_owned(), self.0.clone());
        let settings: Vec<_> = settings.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        on_thread(move || {
            let client = admin_client(&kafka)?;
            let mut topic = NewTopic::new(&name, partitions, TopicReplication::Fixed(-1));
            for (name, value) in &settings {
                topic = topic.set(name, value);
            }
            let options = AdminOptions::new().request_timeout(Some(TIMEOUT)).operation_timeout(Some(TIMEOUT));
            let results = answer(client.create_topics([&topic], &options));
            if let Ok([Err((_, Code::TopicAlreadyExists))]) = results.as_deref() {
                return same_partitions(&client, &name, partitions);
            }
            one(results, &name, &kafka)
        })
        .await
    }

    /// Deletes a topic.
    ///
    /// # Errors
    /// `NotFound` if there is none, and what a connection may meet.
    pub async fn delete_topic(&self, name: &str) -> Result<(), Error> {
        let (name, kafka) = (name.to_owned(), self.0.clone());
        on_thread(move || {
            let client = admin_client(&kafka)?;
            let options = AdminOptions::new().request_timeout(Some(TIMEOUT)).operation_timeout(Some(TIMEOUT));
            one(answer(client.delete_topics(&[&name], &options)), &name, &kafka)
        })
        .await
    }

    /// The next offset that this group would be given of each partition of the topic; `None` where it has committed
    /// nothing.
    ///
    /// # Errors
    /// `NotFound` if there is no such topic, and what a connection may meet.
    pub async fn committed(&self, group: &str, topic: &str) -> Result<Vec<(i32, Option<i64>)>, Error> {
        let (group, topic, kafka) = (group.to_owned(), topic.to_owned(), self.0.clone());
        on_thread(move || {
            let error = |error| errors::from_client(error, &topic);
            let mut config = kafka.consumer_config()?;
            let config = config.set("group.id", &group);
            let consumer: BaseConsumer<Context> = config
                .create_with_context(Context::new(kafka.tokens()))
                .map_err(|error| errors::of_config(error, kafka.servers(), config))?;
            connect::hear(&consumer);
            let metadata = consumer.fetch_metadata(Some(&topic), TIMEOUT).map_err(error)?;
            let mut list = TopicPartitionList::new();
            for found in metadata.topics() {
                if let Some(code) = found.error() {
                    return Err(error(KafkaError::MetadataFetch(code.into())));
                }
                for partition in found.partitions() {
                    list.add_partition(&topic, partition.id());
                }
            }
            let list = consumer.committed_offsets(list, TIMEOUT).map_err(error)?;
            let offset = |offset| match offset {
                Offset::Offset(offset) => Some(offset),
                _ => None,
            };
            Ok(list.elements().iter().map(|e| (e.partition(), offset(e.offset()))).collect())
        })
        .await
    }
}

/// The topic's `max.message.bytes`, if it can be had within this time. Blocks.
pub(crate) fn topic_limit(config: &ClientConfig, topic: &str, timeout: Duration) -> Option<usize> {
    let client: AdminClient<DefaultClientContext> = config.create().ok()?;
    let options = AdminOptions::new().request_timeout(Some(timeout));
    let asked = [&ResourceSpecifier::Topic(topic)];
    let results = answer(client.describe_configs(asked, &options)).ok()?;
    let described = results.into_iter().next()?.ok()?;
    described.get("max.message.bytes")?.value.as_ref()?.parse().ok()
}

fn admin_client(kafka: &Kafka) -> Result<AdminClient<DefaultClientContext>, Error> {
    if kafka.tokens().is_some() {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "admin",
            "the client's administrative part never asks for a token: create topics with another login or tool",
        ));
    }
    let config = kafka.client_config()?;
    config.create().map_err(|error| errors::of_config(error, kafka.servers(), &config))
}

/// Whether a topic that exists is the one that was asked for.
fn same_partitions(
    client: &AdminClient<DefaultClientContext>,
    topic: &str,
    partitions: i32,
) -> Result<(), Error> {
    let metadata = client.inner().fetch_metadata(Some(topic), TIMEOUT);
    let metadata = metadata.map_err(|error| errors::from_client(error, topic))?;
    let found = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
    if usize::try_from(partitions).is_ok_and(|partitions| partitions == found) {
        return Ok(());
    }
    let remedy =
        format!("the topic exists with {found} partitions, not {partitions}: ask for as many, or delete it");
    Err(Error::new(ErrorKind::Config, topic, remedy)
        .with_source(KafkaError::AdminOp(Code::TopicAlreadyExists)))
}

fn one(results: Result<Vec<TopicResult>, KafkaError>, topic: &str, kafka: &Kafka) -> Result<(), Error> {
    let code = match results.map(|results| results.into_iter().next()) {
        Ok(Some(Ok(_))) => return Ok(()),
        Ok(Some(Err((_, code)))) => code,
        Ok(None) => {
            return Err(Error::new(ErrorKind::Broker, topic, "the broker gave no answer for the topic"));
        }
        Err(error) => errors::code(&error),
    };
    let error = KafkaError::AdminOp(code);
    // A request that found no broker to go to ends with its time, and says no more than that.
    if code == Code::OperationTimedOut {
        let (kind, remedy) = errors::meaning(Code::AllBrokersDown);
        return Err(Error::new(kind, kafka.servers(), remedy).with_source(error));
    }
    Err(errors::from_client(error, topic))
}

/// The client's calls block, and so does dropping it.
async fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let (answer, result) = oneshot::channel();
    let run = move || {
        let _ = answer.send(work());
    };
    std::thread::Builder::new().name("throughline-kafka-admin".into()).spawn(run).map_err(|error| {
        Error::new(ErrorKind::Config, "thread", "a thread could not be started").with_source(error)
    })?;
    result.await.unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Broker, "admin", "the request ended without an answer"))
    })
}

/// The client answers each request by its time-out; twice that long is for a client that does not.
fn answer<T>(request: impl Future<Output = Result<T, KafkaError>>) -> Result<T, KafkaError> {
    block_on(request, TIMEOUT * 2).unwrap_or(Err(KafkaError::AdminOp(Code::OperationTimedOut)))
}
