//! Where a trace context is read from and written to.

use crate::{Batch, ContextBeside, Delivery, Extensions, Headers, Message, Origin};
use bytes::Bytes;
use bytestring::ByteString;
use std::{
    collections::{BTreeMap, HashMap},
    hash::BuildHasher,
    ops::ControlFlow,
    time::SystemTime,
};

/// Reads propagation fields. Object safe.
///
/// The reader decides which of several values counts: an exact name before one in another case, and of these the last
/// that is valid.
pub trait Extract {
    /// Shows every field, **the last one first**, until `visit` breaks. Null values are left out.
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a str, &'a [u8]) -> ControlFlow<()>);
}

/// Writes propagation fields. Object safe.
pub trait Inject {
    /// Writes one value in place of every earlier one of this name, ASCII case ignored.
    fn set(&mut self, name: &'static str, value: Bytes);

    /// Removes every value of this name, ASCII case ignored.
    fn remove(&mut self, name: &str);
}

impl Extract for Headers {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a str, &'a [u8]) -> ControlFlow<()>) {
        for header in self.iter().rev() {
            if let Some(value) = &header.value
                && visit(&header.name, value).is_break()
            {
                return;
            }
        }
    }
}

/// No fields: those of a batch are with its messages.
impl Extract for () {
    fn visit<'a>(&'a self, _: &mut dyn FnMut(&'a str, &'a [u8]) -> ControlFlow<()>) {}
}

impl Inject for Headers {
    fn set(&mut self, name: &'static str, value: Bytes) {
        Headers::set(self, ByteString::from_static(name), value);
    }

    fn remove(&mut self, name: &str) {
        Headers::remove(self, name);
    }
}

impl<V: AsRef<[u8]>, S: BuildHasher> Extract for HashMap<String, V, S> {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a str, &'a [u8]) -> ControlFlow<()>) {
        let _ = self.iter().try_for_each(|(name, value)| visit(name, value.as_ref()));
    }
}

impl<V: AsRef<[u8]>> Extract for BTreeMap<String, V> {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a str, &'a [u8]) -> ControlFlow<()>) {
        let _ = self.iter().try_for_each(|(name, value)| visit(name, value.as_ref()));
    }
}

/// What the tracing layer must know of a request that comes in; one method makes a type of your own traceable.
pub trait Inbound {
    /// Where its propagation fields are.
    fn fields(&self) -> &dyn Extract;

    /// A context that came elsewhere than in the fields; it counts where they have none.
    fn beside(&self) -> Option<&ContextBeside> {
        None
    }

    /// Where it came from; without it, the span's name and attributes say nothing of the destination.
    fn origin(&self) -> Option<&Origin> {
        None
    }

    /// Where the layer may leave the process context, so that it survives a change of task; without it, only
    /// what runs inside the service's own future sees the context.
    fn extensions_mut(&mut self) -> Option<&mut Extensions> {
        None
    }

    /// The key, for the attribute that some systems have for it.
    fn key(&self) -> Option<&[u8]> {
        None
    }

    /// Whether the payload is absent, for the attribute that some systems have for it.
    fn is_tombstone(&self) -> bool {
        false
    }

    /// The messages, if it is a batch of them: one span then covers them all, and what else is said here of fields,
    /// origin, key and payload is asked of each. `None` for one message.
    fn batch(&mut self) -> Option<Vec<&mut dyn Inbound>> {
        None
    }

    /// When a batch began to form, where that is known.
    fn began(&self) -> Option<SystemTime> {
        None
    }
}

/// What the mirror layer must know of a request that goes out; one method makes a type of your own traceable.
pub trait Outbound {
    /// Where propagation fields go.
    fn fields_mut(&mut self) -> &mut dyn Inject;

    /// The fields that are there already: a creation context that the user set is kept.
    fn fields(&self) -> Option<&dyn Extract> {
        None
    }

    /// Where a process context may have been left by the tracing layer.
    fn extensions(&self) -> Option<&Extensions> {
        None
    }

    /// The key, for the attribute that some systems have for it.
    fn key(&self) -> Option<&[u8]> {
        None
    }

    /// Whether the payload is absent, for the attribute that some systems have for it.
    fn is_tombstone(&self) -> bool {
        false
    }
}

impl Inbound for Message {
    fn fields(&self) -> &dyn Extract {
        self.headers()
    }

    fn beside(&self) -> Option<&ContextBeside> {
        self.extensions().get()
    }

    fn origin(&self) -> Option<&Origin> {
        Message::origin(self)
    }

    fn extensions_mut(&mut self) -> Option<&mut Extensions> {
        Some(Message::extensions_mut(self))
    }

    fn key(&self) -> Option<&[u8]> {
        Message::key(self).map(|key| &key[..])
    }

    fn is_tombstone(&self) -> bool {
        Message::is_tombstone(self)
    }
}

impl Inbound for Batch {
    fn fields(&self) -> &dyn Extract {
        &()
    }

    fn extensions_mut(&mut self) -> Option<&mut Extensions> {
        Some(Batch::extensions_mut(self))
    }

    fn batch(&mut self) -> Option<Vec<&mut dyn Inbound>> {
        Some(self.messages_mut().iter_mut().map(|message| message as _).collect())
    }
}

impl<Z> Inbound for Delivery<Z> {
    fn fields(&self) -> &dyn Extract {
        self.message.headers()
    }

    fn beside(&self) -> Option<&ContextBeside> {
        Inbound::beside(&self.message)
    }

    fn origin(&self) -> Option<&Origin> {
        self.message.origin()
    }

    fn extensions_mut(&mut self) -> Option<&mut Extensions> {
        Some(self.message.extensions_mut())
    }

    fn key(&self) -> Option<&[u8]> {
        Inbound::key(&self.message)
    }

    fn is_tombstone(&self) -> bool {
        self.message.is_tombstone()
    }
}

impl Outbound for Message {
    fn fields_mut(&mut self) -> &mut dyn Inject {
        self.headers_mut()
    }

    fn fields(&self) -> Option<&dyn Extract> {
        Some(self.headers())
    }

    fn extensions(&self) -> Option<&Extensions> {
        Some(Message::extensions(self))
    }

    fn key(&self) -> Option<&[u8]> {
        Message::key(self).map(|key| &key[..])
    }

    fn is_tombstone(&self) -> bool {
        Message::is_tombstone(self)
    }
}
