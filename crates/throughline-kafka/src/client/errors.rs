//! What librdkafka reports, as errors that say what to do.

use rdkafka::{ClientConfig, error::KafkaError, types::RDKafkaErrorCode as Code};
use throughline_core::{Error, ErrorKind};

/// An error of the client about this topic, group or server.
pub(crate) fn from_client(error: KafkaError, resource: &str) -> Error {
    let code = code(&error);
    let (kind, remedy) = meaning(code);
    Error::new(kind, resource, remedy).with_source(error)
}

/// Their values are words of the client's own.
const PUBLIC: [&str; 2] = ["bootstrap.servers", "security.protocol"];

/// A client that could not be made of this configuration. The client's own text may repeat a value, which may be secret.
pub(crate) fn of_config(error: KafkaError, servers: &str, config: &ClientConfig) -> Error {
    match error {
        KafkaError::ClientConfig(_, _, property, _) => Error::new(
            ErrorKind::Config,
            property,
            "librdkafka knows no such property, takes no such value for it, or was built without its feature",
        ),
        KafkaError::ClientCreation(mut text) => {
            // What is as short as a word of the language is no secret.
            let values = config.config_map().into_keys().filter_map(|name| Some((name, config.get(name)?)));
            for (name, value) in values.filter(|(name, value)| value.len() > 5 && !PUBLIC.contains(name)) {
                text = text.replace(value, &format!("(the value of `{name}`)"));
            }
            Error::new(ErrorKind::Config, servers, text)
        }
        error => from_client(error, servers),
    }
}

/// The broker refused a message, or the batch that it came in, for its size.
pub(crate) fn too_large_for_topic(topic: &str, size: usize, limit: Option<usize>) -> Error {
    let remedy = match limit {
        Some(limit) if size > limit => format!(
            "the message has {size} bytes, and the topic takes {limit}: raise its `max.message.bytes`, or send less"
        ),
        Some(limit) => format!(
            "the message has {size} bytes and came in a batch larger than the {limit} that the topic takes: set \
             `batch.size` to less here, or raise the topic's `max.message.bytes`"
        ),
        None => format!(
            "the message has {size} bytes, and its batch has more than the topic's `max.message.bytes`: raise that, \
             set `batch.size` to less, or send less"
        ),
    };
    Error::new(ErrorKind::TooLarge, topic, remedy)
}

/// Why a producer that takes nothing any more has failed this message.
pub(crate) fn of_ended_producer(code: Code, topic: &str) -> Error {
    match meaning(code) {
        (ErrorKind::Broker, _) => Error::new(
            ErrorKind::Broker,
            topic,
            "the idempotent producer could not go on without risking a loss or a duplicate and is replaced; whether \
             this message was written is not known: send it again if it may come twice",
        ),
        (kind, remedy) => Error::new(kind, topic, remedy),
    }
}

/// The client's code in an error. The crate leaves administrative ones out.
pub(crate) fn code(error: &KafkaError) -> Code {
    match error {
        KafkaError::AdminOp(code) => *code,
        error => error.rdkafka_error_code().unwrap_or(Code::Unknown),
    }
}

/// The kind of an error code, and what to do about it.
pub(crate) fn meaning(code: Code) -> (ErrorKind, &'static str) {
    use ErrorKind as K;
    match code {
        Code::BrokerTransportFailure | Code::AllBrokersDown | Code::Resolve | Code::BrokerNotAvailable => (
            K::Unreachable,
            "check `bootstrap.servers`, that the broker runs and that its advertised listeners can be reached from here",
        ),
        Code::UnknownPartition => {
            (K::NotFound, "the topic has no such partition: leave it to the key, or name one that is there")
        }
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownTopicId => (
            K::NotFound,
            "create the topic, or let the broker do it (`auto.create.topics.enable` there, `allow.auto.create.topics` here)",
        ),
        Code::InvalidTopic => (K::Config, "a topic's name has 1 to 249 of the characters a-z A-Z 0-9 . _ -"),
        Code::Authentication | Code::SaslAuthenticationFailed | Code::UnacceptableCredential => {
            (K::Denied, "check `sasl.mechanism`, `sasl.username`, `sasl.password` or the client certificate")
        }
        Code::SSL => (K::Denied, "check `security.protocol` and `ssl.ca.location`: the TLS handshake failed"),
        Code::UnsupportedSASLMechanism | Code::IllegalSASLState => {
            (K::Config, "the broker does not offer this `sasl.mechanism`")
        }
        Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed => {
            (K::Denied, "the broker's access control does not permit this to these credentials")
        }
        Code::MessageTimedOut | Code::OperationTimedOut | Code::RequestTimedOut | Code::TimedOutQueue => {
            (K::Timeout, "the broker did not confirm in time; `message.timeout.ms` bounds the wait")
        }
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize => {
            (K::TooLarge, "raise `message.max.bytes` here and `max.message.bytes` of the topic, or send less")
        }
        Code::InvalidRecord => {
            (K::Unrepresentable, "the topic does not take this record: one that is compacted wants a key")
        }
        Code::InvalidDifferentRecord => {
            (K::Broker, "another message of its batch was refused, and took it along: send it again")
        }
        Code::InvalidTimestamp => (
            K::Unrepresentable,
            "its time is further from the broker's than the topic permits (`message.timestamp.before.max.ms`, \
             `message.timestamp.after.max.ms`)",
        ),
        Code::NotEnoughReplicas | Code::NotEnoughReplicasAfterAppend => {
            (K::Broker, "fewer replicas are in sync than `min.insync.replicas` of the topic")
        }
        Code::InvalidSessionTimeout => (
            K::Config,
            "`session.timeout.ms` has to be within `group.min.session.timeout.ms` and `group.max.session.timeout.ms` of \
             the broker",
        ),
        Code::GroupMaxSizeReached => {
            (K::Broker, "the group has as many members as `group.max.size` of the broker allows")
        }
        Code::FencedInstanceId => {
            (K::Fenced, "another member took this `group.instance.id`; give each member its own")
        }
        // Not fenced: after a crash it is our own session that has not ended yet.
        Code::UnreleasedInstanceId => (
            K::Broker,
            "a member with this `group.instance.id` is in the group until its session ends; give each member its own",
        ),
        Code::ProducerFenced | Code::InvalidProducerEpoch | Code::Fenced => {
            (K::Fenced, "another producer took over this identity")
        }
        Code::InconsistentGroupProtocol => (
            K::Config,
            "the group's members use another protocol: stop them all first, choose their `.assignment(..)`, or set \
             `group.protocol=consumer` if they speak the newer one",
        ),
        Code::QueueFull => {
            (K::Broker, "raise `queue.buffering.max.kbytes`, or keep fewer large messages under way")
        }
        Code::PurgeQueue | Code::PurgeInflight | Code::DestroyBroker | Code::BrokerDestroy => {
            (K::Closed, "the client was closed before the broker confirmed")
        }
        Code::UnsupportedCompressionType => (
            K::Unsupported,
            "the broker does not take this `compression.type` in this version of its protocol",
        ),
        Code::UnsupportedVersion | Code::UnsupportedFeature => {
            (K::Unsupported, "the broker is too old for this")
        }
        _ => (K::Broker, ""),
    }
}

/// Whether only a new client, or a person, can help: anything else heals while the client goes on trying.
pub(crate) fn ends_source(code: Code) -> bool {
    match code {
        Code::Fatal
        | Code::InconsistentGroupProtocol
        | Code::FencedInstanceId
        | Code::UnreleasedInstanceId
        | Code::InvalidGroupId
        | Code::InvalidSessionTimeout
        | Code::UnsupportedVersion => true,
        _ => matches!(meaning(code).0, ErrorKind::Denied | ErrorKind::Unsupported),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error as _;

    #[test]
    fn a_refused_value_is_never_repeated() {
        let mut config = ClientConfig::new();
        config.set("ssl.ca.location", "probe").set("sasl.mechanism", "secret\u{7}").set("nonsense", "secret");
        let Err(error) = config.create_native_config() else { panic!("nonsense was taken") };
        let error = of_config(error, "127.0.0.1:9092", &config);
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(!format!("{error} {error:?}").contains("secret") && error.source().is_none());
    }

    #[test]
    fn a_value_in_the_clients_own_words_is_taken_out() {
        let mut config = ClientConfig::new();
        config.set("ssl.key.password", "hunter2").set("ssl.ca.location", "/no/such.pem");
        let text = "ssl.ca.location failed: /no/such.pem with hunter2".to_owned();
        let text = of_config(KafkaError::ClientCreation(text), "a:1", &config).to_string();
        assert!(text.contains("`ssl.ca.location`") && !text.contains("hunter2"), "{text}");
    }

    #[test]
    fn what_heals_does_not_end_the_source() {
        for code in [
            Code::AllBrokersDown,
            Code::RebalanceInProgress,
            Code::UnknownTopicOrPartition,
            Code::NotImplemented,
        ] {
            assert!(!ends_source(code), "{code:?}");
        }
        for code in [Code::FencedInstanceId, Code::SaslAuthenticationFailed, Code::UnsupportedVersion] {
            assert!(ends_source(code), "{code:?}");
        }
    }
}
