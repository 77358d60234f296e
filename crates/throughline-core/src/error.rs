//! The error of every adapter and contract.

use std::{error::Error as StdError, fmt};

/// Any error a user's code may answer with.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// What went wrong between us and a broker, which resource it concerns, and what to do about it.
///
/// It displays as one line: what happened, the resource's name, the remedy. The client's own error is the
/// [`source`](StdError::source).
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    resource: String,
    remedy: String,
    source: Option<BoxError>,
}

/// The kinds of [`Error`] that a program may want to tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A setting is missing, unknown, malformed, or would break a promise of the adapter.
    Config,
    /// No server answered.
    Unreachable,
    /// The topic, queue or subscription does not exist.
    NotFound,
    /// Credentials are wrong, expired, or do not permit this.
    Denied,
    /// The broker did not answer in time.
    Timeout,
    /// The message is larger than the broker or the destination takes.
    TooLarge,
    /// The message cannot be represented on this broker.
    Unrepresentable,
    /// Another client with the same identity took our place.
    Fenced,
    /// We no longer hold what we tried to settle.
    LeaseLost,
    /// What we speak to was closed, by us or by the broker.
    Closed,
    /// The broker cannot do what was asked for.
    Unsupported,
    /// Anything else that the broker or its client reported.
    Broker,
}

impl ErrorKind {
    /// The low-cardinality word for this kind, as in the attribute `error.type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            ErrorKind::Config => "config",
            ErrorKind::Unreachable => "unreachable",
            ErrorKind::NotFound => "not_found",
            ErrorKind::Denied => "denied",
            ErrorKind::Timeout => "timeout",
            ErrorKind::TooLarge => "too_large",
            ErrorKind::Unrepresentable => "unrepresentable",
            ErrorKind::Fenced => "fenced",
            ErrorKind::LeaseLost => "lease_lost",
            ErrorKind::Closed => "closed",
            ErrorKind::Unsupported => "unsupported",
            ErrorKind::Broker => "broker",
        }
    }

    const fn what(self) -> &'static str {
        match self {
            ErrorKind::Config => "bad setting",
            ErrorKind::Unreachable => "no server answered",
            ErrorKind::NotFound => "does not exist",
            ErrorKind::Denied => "access denied",
            ErrorKind::Timeout => "no answer in time",
            ErrorKind::TooLarge => "message too large",
            ErrorKind::Unrepresentable => "message cannot be represented",
            ErrorKind::Fenced => "fenced by another client",
            ErrorKind::LeaseLost => "lease lost",
            ErrorKind::Closed => "closed",
            ErrorKind::Unsupported => "not supported",
            ErrorKind::Broker => "broker error",
        }
    }
}

impl Error {
    /// `resource` is the name of the topic, queue, server or setting; `remedy` says in one sentence what to do.
    pub fn new(kind: ErrorKind, resource: impl Into<String>, remedy: impl Into<String>) -> Self {
        Error(Box::new(Inner { kind, resource: resource.into(), remedy: remedy.into(), source: None }))
    }

    /// Keeps what the client itself reported.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The kind, to branch on.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The name of the topic, queue, server or setting that this concerns.
    pub fn resource(&self) -> &str {
        &self.0.resource
    }

    /// What to do about it.
    pub fn remedy(&self) -> &str {
        &self.0.remedy
    }

    /// Whether the same call may succeed later without anybody changing anything.
    pub fn is_retriable(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Unreachable | ErrorKind::Timeout | ErrorKind::Broker)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: `{}`", self.0.kind.what(), self.0.resource)?;
        if !self.0.remedy.is_empty() {
            write!(f, "; {}", self.0.remedy)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("resource", &self.0.resource)
            .field("remedy", &self.0.remedy)
            .field("source", &self.0.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|e| e as _)
    }
}
