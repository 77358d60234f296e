//! One thing that is wrong with a graph.

use super::SpanRef;
use std::fmt;

/// A span, what is wrong with it, and what it has to do with.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Edge {
    /// The span that is wrong.
    pub from: SpanRef,
    /// Its name.
    pub name: String,
    /// The other end, if the fault has one.
    pub to: Option<SpanRef>,
    /// What is wrong.
    pub fault: Fault,
}

/// What can be wrong with a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// Its parent was never exported and is not declared external.
    ParentMissing,
    /// Its parent was exported, but in another trace.
    ParentInOtherTrace,
    /// A link points at what was never exported and is not declared external.
    LinkMissing,
    /// A link points at an id of zeros.
    LinkInvalid,
    /// The SDK dropped links over its limit.
    LinksDropped,
    /// Another span has the same id: made twice, or exported twice.
    DuplicateId,
    /// It ended before it began.
    EndsBeforeItBegins,
    /// A second process span for the same delivery.
    SecondProcessSpan,
    /// A process span that neither links to nor is a child of what made its message.
    WithoutCreation,
    /// A process span whose creation context is no send.
    NotASend,
    /// A process span that points at another message's send.
    WrongSend,
    /// Parent and first link of a process span disagree.
    ParentIsNotTheLink,
    /// An attempt that is no child of a process span.
    AttemptOutside,
    /// An attempt that is not linked to the try before it, or to it and others.
    AttemptNotLinked,
}

impl Fault {
    /// In words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Fault::ParentMissing => "its parent was not exported",
            Fault::ParentInOtherTrace => "its parent is in another trace",
            Fault::LinkMissing => "links to a span that was not exported",
            Fault::LinkInvalid => "links to an invalid context",
            Fault::LinksDropped => "lost links to the limit of the SDK",
            Fault::DuplicateId => "has the id of another span",
            Fault::EndsBeforeItBegins => "ends before it begins",
            Fault::SecondProcessSpan => "is a second process span for one delivery",
            Fault::WithoutCreation => "has no creation context",
            Fault::NotASend => "takes for its creation what is no send span",
            Fault::WrongSend => "points at the send span of another message",
            Fault::ParentIsNotTheLink => "has a parent that is not its first link",
            Fault::AttemptOutside => "is an attempt outside of a process span",
            Fault::AttemptNotLinked => "is an attempt that is not linked to the try before it",
        }
    }
}

impl fmt::Display for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}` {}", self.from, self.name, self.fault.as_str())?;
        match self.to {
            Some(to) => write!(f, ": {to}"),
            None => Ok(()),
        }
    }
}
