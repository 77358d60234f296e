//! What keeps a client from its servers, and no waiting helps against.

use crate::client::errors;
use rdkafka::types::RDKafkaErrorCode as Code;
use throughline_core::{Error, ErrorKind};

/// A server that takes the connection and not us.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refusal {
    kind: ErrorKind,
    /// The setting that is wrong, where it is one.
    setting: Option<&'static str>,
    remedy: &'static str,
    /// Cannot be a server that just goes away.
    pub(crate) certain: bool,
}

/// Reads the client's own words, which tell more than its code: four faults of TLS have two codes.
pub(crate) fn refusal(code: Code, reason: &str) -> Option<Refusal> {
    let says = |words: &[&str]| words.iter().any(|words| reason.contains(words));
    let wrong_protocol = |remedy| Refusal {
        kind: ErrorKind::Config,
        setting: Some("security.protocol"),
        remedy,
        certain: code == Code::SSL,
    };
    let denied = |remedy| Refusal { kind: ErrorKind::Denied, setting: None, remedy, certain: true };
    if says(&["PLAINTEXT broker listener", "wrong version number"]) {
        return Some(wrong_protocol(
            "the server speaks no TLS on this port: use the port where it does, or `plaintext` or `sasl_plaintext`",
        ));
    }
    // The client has words of its own for these two, and by a slip in librdkafka 2.12 never says them.
    if says(&["Disconnected"]) && says(&["in state APIVERSION_QUERY"]) {
        return Some(wrong_protocol(
            "the server hangs up before a word, most likely because this port is for TLS: use `ssl` or `sasl_ssl`",
        ));
    }
    if says(&["Disconnected"]) && says(&["in state UP"]) && !says(&["sasl_"]) && short(reason) {
        return Some(wrong_protocol(
            "the server hangs up right away, most likely because it wants a login: use `sasl_ssl` or `sasl_plaintext`",
        ));
    }
    if says(&["not valid in current SASL state"]) {
        return Some(Refusal {
            certain: true,
            ..wrong_protocol(
                "the server takes no login on this port: use `plaintext` or `ssl`, or the port where it does",
            )
        });
    }
    if says(&["Unsupported SASL mechanism"]) {
        let remedy = "the server does not offer this mechanism; it has named those that it does";
        return Some(Refusal { kind: ErrorKind::Config, setting: Some("sasl.mechanism"), ..denied(remedy) });
    }
    if says(&["certificate verify failed", "could not be verified"]) {
        return Some(denied(
            "the server's certificate is not trusted here: set `ssl.ca.location` to the file of the authority that signed \
             it; the certificate must also be for the name in `bootstrap.servers`",
        ));
    }
    if says(&["client SSL authentication might be required"]) {
        return Some(denied(
            "the server wants a certificate of ours: set `ssl.certificate.location` and `ssl.key.location`",
        ));
    }
    match code {
        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::UnacceptableCredential
        | Code::UnsupportedSASLMechanism
        | Code::IllegalSASLState
        | Code::SSL => {
            let (kind, remedy) = errors::meaning(code);
            Some(Refusal { kind, remedy, ..denied("") })
        }
        _ => None,
    }
}

/// Whether the client did not even get as far as a connection, so that an earlier refusal was a server that went away.
/// Other words prove nothing: a server that hangs up now and then resets the connection, which reads like any outage,
/// while the client says the same thing again only after half a minute.
pub(crate) fn is_away(code: Code, reason: &str) -> bool {
    code == Code::Resolve || reason.contains("Connect to ")
}

/// Whether the connection did not last two seconds: a server that wants no login does not end it so soon.
fn short(reason: &str) -> bool {
    let lasted = reason.rsplit_once("(after ").and_then(|(_, rest)| rest.split_once("ms"));
    lasted.and_then(|(ms, _)| ms.parse().ok()).is_some_and(|ms: u64| ms < 2_000)
}

impl Refusal {
    /// As an error about this server, group or topic, unless a setting is to blame.
    pub(crate) fn error(&self, resource: &str, reason: String) -> Error {
        Error::new(self.kind, self.setting.unwrap_or(resource), self.remedy).with_source(reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_no_refusal() {
        for (code, reason) in [
            (
                Code::BrokerTransportFailure,
                "Connect to ipv4#127.0.0.1:1 failed: Connection refused (after 0ms)",
            ),
            (Code::AllBrokersDown, "1/1 brokers are down"),
            (
                Code::BrokerTransportFailure,
                "a:1/1: Disconnected: connection closed by peer (after 92311ms in state UP)",
            ),
            (Code::BrokerTransportFailure, "sasl_ssl://a:1/1: Disconnected: gone (after 9ms in state UP)"),
            (Code::Resolve, "Failed to resolve 'kafka:9092': Name or service not known"),
        ] {
            assert!(refusal(code, reason).is_none(), "{reason}");
        }
    }

    #[test]
    fn only_a_server_that_cannot_be_reached_takes_a_refusal_back() {
        let lost = Code::BrokerTransportFailure;
        assert!(is_away(lost, "Connect to ipv4#127.0.0.1:1 failed: Connection refused (after 0ms)"));
        assert!(is_away(Code::Resolve, "Failed to resolve 'kafka:9092': Name or service not known"));
        assert!(!is_away(lost, "ssl://a:1: SSL handshake failed: Connection reset by peer (after 2ms)"));
    }

    #[test]
    fn what_may_be_a_server_that_goes_away_is_not_certain() {
        for (state, says) in [("APIVERSION_QUERY", "TLS"), ("UP", "login")] {
            let seen = format!(
                "a:1/bootstrap: Disconnected: connection closed by peer (after 3ms in state {state})"
            );
            let refusal = refusal(Code::BrokerTransportFailure, &seen).unwrap();
            assert!(!refusal.certain);
            let error = refusal.error("a:1", seen);
            assert_eq!((error.kind(), error.resource()), (ErrorKind::Config, "security.protocol"));
            assert!(error.remedy().contains(says), "{error}");
        }
    }
}
