//! Several messages that are handled together.

use crate::{Extensions, Message};
use std::{ops::Deref, sync::Arc};

/// Several messages that a stack handles in one call: at least one if a worker made it, in the order they came in.
///
/// A slice of [`Message`]s that is cheap to clone, so that a retry around a stack works as it does for one message.
///
/// ```
/// use throughline_core::{Batch, Message};
///
/// let batch: Batch = ["a", "b"].into_iter().map(Message::new).collect();
/// assert_eq!(batch.len(), 2);
/// assert_eq!(batch[1].payload().as_ref(), b"b");
/// ```
#[derive(Clone, Debug)]
pub struct Batch {
    messages: Arc<[Message]>,
    extensions: Extensions,
}

impl Batch {
    /// Of these.
    pub fn new(messages: impl Into<Arc<[Message]>>) -> Self {
        Batch { messages: messages.into(), extensions: Extensions::default() }
    }

    /// The same with these values of its own.
    #[must_use]
    pub fn with_extensions(mut self, extensions: Extensions) -> Self {
        self.extensions = extensions;
        self
    }

    /// The messages, to change; copied first if a clone shares them.
    pub fn messages_mut(&mut self) -> &mut [Message] {
        Arc::make_mut(&mut self.messages)
    }

    /// Values that travel with the batch as a whole inside this process; each message has its own beside them.
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// The same, to add to.
    pub fn extensions_mut(&mut self) -> &mut Extensions {
        &mut self.extensions
    }
}

impl Deref for Batch {
    type Target = [Message];

    fn deref(&self) -> &[Message] {
        &self.messages
    }
}

impl<'a> IntoIterator for &'a Batch {
    type Item = &'a Message;
    type IntoIter = std::slice::Iter<'a, Message>;

    fn into_iter(self) -> Self::IntoIter {
        self.messages.iter()
    }
}

impl FromIterator<Message> for Batch {
    fn from_iter<I: IntoIterator<Item = Message>>(messages: I) -> Self {
        Batch::new(messages.into_iter().collect::<Arc<[Message]>>())
    }
}
