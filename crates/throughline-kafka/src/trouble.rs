//! What the client reports as an error: what ends the source, and what heals while it goes on.

use crate::{errors, poll::Poller};
use rdkafka::{consumer::Consumer, error::KafkaError, types::RDKafkaErrorCode as Code};
use throughline_core::{Error, ErrorKind, Event};

impl Poller {
    pub(crate) fn on_error(&mut self, error: KafkaError) {
        let fatal = matches!(error, KafkaError::MessageConsumptionFatal(_));
        let Some(code) = error.rdkafka_error_code() else { return };
        if code == Code::PartitionEOF {
            return;
        }
        let code = match (code, self.consumer.client().fatal_error()) {
            (Code::Fatal, Some((code, _))) => code,
            _ => code,
        };
        let (kind, remedy) = errors::meaning(code);
        // The client names the topic only in its own words.
        let resource =
            if kind == ErrorKind::NotFound { self.plan.topics.join(",") } else { self.plan.group.clone() };
        let reason = self.consumer.context().reason().filter(|(c, _)| *c == code).map(|(_, reason)| reason);
        let typed =
            Error::new(kind, resource, remedy).with_source(reason.unwrap_or_else(|| error.to_string()));
        if fatal || errors::ends_source(code) {
            self.fail(typed);
        } else if !std::mem::replace(&mut self.reconnecting, true) || kind != ErrorKind::Unreachable {
            self.observer.observe(Event::Reconnecting { error: &typed });
        }
    }

    /// A record came, or the client says that it reaches the group again.
    pub(crate) fn reconnected(&mut self) {
        if std::mem::take(&mut self.reconnecting) {
            self.observer.observe(Event::Reconnected);
        }
    }

    /// Ends the source; the membership is kept until it is closed.
    pub(crate) fn fail(&mut self, error: Error) {
        self.failed = true;
        self.exchange.fail(error);
    }
}
