//! What the client says in its own log.

use crate::client::refusal::refusal;
use rdkafka::{config::RDKafkaLogLevel, types::RDKafkaErrorCode as Code};

/// Whether a line of the log tells that a server hangs up on how we speak to it: the client counts that as no error.
pub(crate) fn hung_up(facility: &str, text: &str) -> bool {
    facility == "FAIL" && refusal(Code::BrokerTransportFailure, text).is_some()
}

/// One line of the client's own log.
pub(crate) fn pass_on(level: RDKafkaLogLevel, facility: &str, text: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(target: "librdkafka", facility, "{text}");
        }
        RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => {
            tracing::warn!(target: "librdkafka", facility, "{text}");
        }
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
            tracing::debug!(target: "librdkafka", facility, "{text}");
        }
        RDKafkaLogLevel::Debug => tracing::trace!(target: "librdkafka", facility, "{text}"),
    }
}
