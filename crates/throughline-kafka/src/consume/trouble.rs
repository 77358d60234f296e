//! What the client reports as an error: what ends the source, and what heals while it goes on.

use crate::{
    client::errors,
    consume::{
        asking::Ask,
        codec::Unreadable,
        poll::Poller,
        slots::{NONE, Slot},
    },
};
use rdkafka::{consumer::Consumer, error::KafkaError, types::RDKafkaErrorCode as Code};
use std::time::{Duration, Instant};
use throughline_core::{ByteString, Error, ErrorKind, Event};

/// How long the broker may take to describe a group.
const GROUP_PATIENCE: Duration = Duration::from_secs(3);

/// How often it is looked whether a missing topic is there, and whether one is missing. The client itself goes on in
/// silence when a topic is deleted under it.
const LOOK_FOR_MISSING: Duration = Duration::from_secs(5);
pub(crate) const LOOK_FOR_TOPICS: Duration = Duration::from_secs(15);

impl Poller {
    pub(crate) fn on_error(&mut self, error: KafkaError) {
        let fatal = matches!(error, KafkaError::MessageConsumptionFatal(_));
        let Some(code) = error.rdkafka_error_code() else { return };
        match code {
            Code::PartitionEOF => return,
            Code::AutoOffsetReset => {
                self.refused = true;
                return;
            }
            Code::UnknownTopicOrPartition | Code::UnknownTopic => {
                self.look_for_topics = Some(Instant::now());
                return;
            }
            _ => {}
        }
        let code = match (code, self.consumer.client().fatal_error()) {
            (Code::Fatal, Some((code, _))) => code,
            _ => code,
        };
        let reason = self.consumer.context().reason().filter(|(c, _)| *c == code).map(|(_, reason)| reason);
        if let Some(batch) = reason.as_ref().and_then(|reason| Unreadable::parse(code, reason)) {
            let error = batch.error(code, &self.place_of(batch));
            return self.observer.observe(Event::Unreadable { error: &error });
        }
        let (kind, remedy) = errors::meaning(code);
        let remedy = match code {
            Code::InconsistentGroupProtocol => self.protocols().unwrap_or_else(|| remedy.to_owned()),
            _ => remedy.to_owned(),
        };
        let typed = Error::new(kind, &*self.plan.group, remedy)
            .with_source(reason.unwrap_or_else(|| error.to_string()));
        if fatal || errors::ends_source(code) {
            self.fail(typed);
        } else if !std::mem::replace(&mut self.reconnecting, true) || kind != ErrorKind::Unreachable {
            self.observer.observe(Event::Reconnecting { error: &typed });
        }
    }

    /// The partition that waits before this batch, if only one can be it; else the group.
    fn place_of(&self, batch: Unreadable) -> String {
        let position = |slot: &Slot| slot.next.max(slot.committed);
        // One whose position is not known can be it, too.
        let can = |slot: &&Slot| slot.assigned && [NONE, batch.offset].contains(&position(slot));
        let mut waiting = self.slots.iter().filter(can);
        match (waiting.next(), waiting.next()) {
            (Some(slot), None) => format!("{}/{}", slot.partition.topic(), slot.partition.number),
            _ => self.plan.group.clone(),
        }
    }

    /// Ends the source where the group speaks the classic protocol, and this member, which it has not taken, the newer one.
    /// The client is refused then, and only tries again without a word.
    pub(crate) fn refuse_classic_group(&mut self) {
        if let Some(remedy) = self.protocols() {
            self.fail(Error::new(ErrorKind::Config, &*self.plan.group, remedy));
        }
    }

    /// How the group's members share partitions, and how this one would. Waits for the broker: the source starts or ends.
    fn protocols(&self) -> Option<String> {
        let theirs = self.theirs()?;
        Some(match self.plan.config.get("partition.assignment.strategy") {
            Some(ours) => format!(
                "the group's members share by `{theirs}` and this one by `{ours}`: stop them all first, or choose theirs \
                 with `.assignment(..)`"
            ),
            None => format!(
                "the group's members speak the classic protocol, sharing by `{theirs}`, and this one the newer one: stop \
                 them all first, leave `group.protocol=consumer` out, or let the broker take the group over \
                 (`group.consumer.migration.policy=bidirectional` there)"
            ),
        })
    }

    /// How the group's members share partitions, if they speak the classic protocol.
    fn theirs(&self) -> Option<String> {
        let groups = self.consumer.fetch_group_list(Some(&self.plan.group), GROUP_PATIENCE).ok()?;
        let theirs =
            groups.groups().iter().map(|group| group.protocol()).find(|theirs| !theirs.is_empty())?;
        Some(theirs.to_owned())
    }

    /// A record came, or the client says that it reaches the group again.
    pub(crate) fn reconnected(&mut self) {
        if std::mem::take(&mut self.reconnecting) {
            self.observer.observe(Event::Reconnected);
        }
    }

    /// Asks which topics are missing, if it is time.
    pub(crate) fn look_for_topics(&mut self) {
        if self.look_for_topics.is_some_and(|at| at <= Instant::now()) {
            self.look_for_topics = None;
            let _ = self.asking.send(Ask::Missing(self.plan.topics.clone()));
        }
    }

    /// Tells which topics are missing, and asks again in a while.
    pub(crate) fn on_missing(&mut self, topics: Option<Vec<ByteString>>) {
        let known = topics.is_some();
        if let Some(topics) = topics.filter(|topics| *topics != self.missing) {
            self.observer.observe(Event::Missing { topics: &topics });
            self.missing = topics;
        }
        let wait = if known && self.missing.is_empty() { LOOK_FOR_TOPICS } else { LOOK_FOR_MISSING };
        self.look_for_topics = Some(Instant::now() + wait);
    }

    /// Ends the source; the membership is kept until it is closed.
    pub(crate) fn fail(&mut self, error: Error) {
        self.failed = true;
        self.exchange.fail(error);
    }
}
