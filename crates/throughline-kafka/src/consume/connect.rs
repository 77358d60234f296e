//! The start: servers that answer and topics that exist, or an error that says which do not.

use crate::{
    client::{
        errors,
        refusal::{Refusal, is_away, refusal},
    },
    consume::{context::Context, exchange::Exchange, subscription::Plan},
};
use rdkafka::{
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    types::RDKafkaErrorCode as Code,
};
use std::time::{Duration, Instant};
use throughline_core::{ByteString, Error, ErrorKind};

/// How long the servers may take to describe one topic.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long events are listened to at a time.
const HEARING: Duration = Duration::from_millis(10);

/// A consumer that has seen its servers and its topics.
pub(crate) fn connect(plan: &Plan, exchange: &Exchange) -> Result<BaseConsumer<Context>, Error> {
    let servers = plan.kafka.servers();
    let client = |error| errors::of_config(error, servers, &plan.config);
    let consumer: BaseConsumer<Context> =
        plan.config.create_with_context(Context::new(plan.kafka.tokens())).map_err(client)?;
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
    // What looks like a wrong setting may be a server that goes away: only if it stays for half of the time.
    let patience = deadline.saturating_duration_since(Instant::now()) / 2;
    let mut refused: Option<(Refusal, String, Instant)> = None;
    loop {
        hear(consumer);
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
        hear(consumer);
        let reason = consumer.context().reason();
        if let Some((code, reason)) = &reason {
            match refusal(*code, reason) {
                Some(found) => {
                    refused.get_or_insert_with(|| (found, reason.clone(), Instant::now()));
                }
                None if errors::ends_source(*code) => {
                    let (kind, remedy) = errors::meaning(*code);
                    return Err(Error::new(kind, servers, remedy).with_source(reason.clone()));
                }
                None if is_away(*code, reason) => refused = None,
                None => {}
            }
        }
        if let Some((refusal, reason, since)) = &refused
            && (refusal.certain || since.elapsed() >= patience || Instant::now() >= deadline)
        {
            return Err(refusal.error(servers, reason.clone()));
        }
        if exchange.closing().is_some() {
            return Err(Error::new(ErrorKind::Closed, servers, "the attempt was given up"));
        }
        if Instant::now() >= deadline {
            let (kind, remedy) = errors::meaning(Code::BrokerTransportFailure);
            let source = reason.map_or_else(|| error.to_string(), |(_, reason)| reason);
            return Err(Error::new(kind, servers, remedy).with_source(source));
        }
    }
}

/// Which of these topics do not exist; nothing if the servers do not say. A pattern is refused as a name, which is not that:
/// what it matches need not exist.
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

/// Errors of the connection, and requests for a token, come as events, and only to who polls. A poll that does not wait
/// takes a single one, which may be a line of the client's log: what matters would be heard after all of these.
pub(crate) fn hear(consumer: &BaseConsumer<Context>) {
    while let Some(event) = consumer.poll(HEARING) {
        drop(event);
    }
}
