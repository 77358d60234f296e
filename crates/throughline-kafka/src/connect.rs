//! The start: servers that answer and topics that exist, or an error that says which do not.

use crate::{context::Context, errors, exchange::Exchange, subscription::Plan};
use rdkafka::{
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    types::RDKafkaErrorCode as Code,
};
use std::time::{Duration, Instant};
use throughline_core::{ByteString, Error, ErrorKind};

/// How long the servers may take to describe one topic.
const PATIENCE: Duration = Duration::from_secs(5);

/// A consumer that has seen its servers and its topics.
pub(crate) fn connect(plan: &Plan, exchange: &Exchange) -> Result<BaseConsumer<Context>, Error> {
    let servers = plan.kafka.servers();
    let client = |error| errors::from_client(error, servers);
    let consumer: BaseConsumer<Context> =
        plan.config.create_with_context(Context::default()).map_err(client)?;
    let deadline = Instant::now() + plan.connect_timeout;
    for topic in &plan.topics {
        // A regular expression over names: only the servers can be checked.
        let name = (!topic.starts_with('^')).then_some(topic.as_str());
        check_topic(&consumer, name, servers, deadline, exchange)?;
    }
    let topics: Vec<&str> = plan.topics.iter().map(String::as_str).collect();
    consumer.subscribe(&topics).map_err(|error| errors::from_client(error, &plan.topics.join(",")))?;
    Ok(consumer)
}

fn check_topic(
    consumer: &BaseConsumer<Context>,
    topic: Option<&str>,
    servers: &str,
    deadline: Instant,
    exchange: &Exchange,
) -> Result<(), Error> {
    loop {
        // In slices, so that a refused login or an abandoned attempt ends the wait.
        let slice = deadline.saturating_duration_since(Instant::now()).min(Duration::from_millis(500));
        let error = match consumer.fetch_metadata(topic, slice) {
            Ok(metadata) => {
                let found = metadata.topics().iter().find(|t| Some(t.name()) == topic);
                match found.and_then(|topic| topic.error()).map(Code::from) {
                    None => return Ok(()),
                    // Just created, or between two leaders.
                    Some(code @ Code::LeaderNotAvailable) => KafkaError::MetadataFetch(code),
                    Some(code) => {
                        let error = KafkaError::MetadataFetch(code);
                        return Err(errors::from_client(error, topic.unwrap_or(servers)));
                    }
                }
            }
            Err(error) => error,
        };
        // Errors of the connection come as events, and only to who polls.
        while let Some(event) = consumer.poll(Duration::ZERO) {
            drop(event);
        }
        if let Some((code, reason)) = consumer.context().reason()
            && errors::ends_source(code)
        {
            let (kind, remedy) = errors::meaning(code);
            return Err(Error::new(kind, servers, remedy).with_source(reason));
        }
        if exchange.closing().is_some() {
            return Err(Error::new(ErrorKind::Closed, servers, "the attempt was given up"));
        }
        if Instant::now() >= deadline {
            let (kind, remedy) = errors::meaning(Code::BrokerTransportFailure);
            let reason = consumer.context().reason().map(|(_, reason)| reason);
            return Err(match reason {
                Some(reason) => Error::new(kind, servers, remedy).with_source(reason),
                None => Error::new(kind, servers, remedy).with_source(error),
            });
        }
    }
}

/// Which of these topics do not exist; nothing if the servers do not say.
pub(crate) fn missing(consumer: &BaseConsumer<Context>, topics: &[String]) -> Option<Vec<ByteString>> {
    let mut missing = Vec::new();
    for topic in topics {
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).ok()?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        if let Some(error) = found.and_then(|found| found.error())
            && errors::meaning(error.into()).0 == ErrorKind::NotFound
        {
            missing.push(topic.as_str().into());
        }
    }
    Some(missing)
}
