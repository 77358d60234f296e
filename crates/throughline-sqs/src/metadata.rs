//! What SQS says of a message, and is told of one, beside payload, key and headers.

use std::time::{Duration, SystemTime};
use throughline_core::ByteString;

/// What SQS and SNS said of a received message beside its [`Origin`](throughline_core::Origin): find it in the message's
/// extensions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SqsMetadata {
    /// The identity that SQS gave it. A FIFO queue that it is forwarded to takes it for the deduplication id.
    pub message_id: ByteString,
    /// The deduplication id, on a FIFO queue.
    pub deduplication_id: Option<ByteString>,
    /// The place in its group, on a FIFO queue.
    pub sequence_number: Option<ByteString>,
    /// When it was received for the first time.
    pub first_received: Option<SystemTime>,
    /// The queue whose redrive policy moved it here.
    pub dead_letter_source: Option<ByteString>,
    /// What SNS wrapped it in, if it did.
    pub sns: Option<SnsMetadata>,
}

/// The envelope of SNS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnsMetadata {
    /// The topic.
    pub topic_arn: ByteString,
    /// The identity that SNS gave it.
    pub message_id: ByteString,
    /// The subject, if the publisher gave one.
    pub subject: Option<ByteString>,
    /// When it was published, as SNS writes it (RFC 3339).
    pub timestamp: Option<ByteString>,
}

/// The types of message attributes that are not what their values look like: `Number`, `Binary` around text, a type with
/// a label (`String.email`). Put it into the extensions of a message to send; a received message brings it along, so that
/// what is forwarded keeps its types.
///
/// An attribute that is not named is a `String` if its value is text, else `Binary`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttributeTypes(Vec<(ByteString, ByteString)>);

impl AttributeTypes {
    /// None yet.
    pub const fn new() -> Self {
        AttributeTypes(Vec::new())
    }

    /// Says the type of one: `String`, `Number` or `Binary`, with a label of your own after a dot if you like.
    #[must_use]
    pub fn set(mut self, name: impl Into<ByteString>, data_type: impl Into<ByteString>) -> Self {
        let name = name.into();
        self.0.retain(|(known, _)| *known != name);
        self.0.push((name, data_type.into()));
        self
    }

    /// The type that was said.
    pub fn get(&self, name: &str) -> Option<&ByteString> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, data_type)| data_type)
    }

    /// Whether none was said.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Hides a message to send for so long, in whole seconds, up to 15 minutes: put it into the message's extensions. A FIFO
/// queue does that for all of its messages alike or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delay(pub Duration);

/// By what a FIFO queue knows a message that is sent twice within five minutes: put it into the message's extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeduplicationId(pub ByteString);
