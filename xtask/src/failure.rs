//! Why a command could not go on.

use std::fmt;

/// The result of a step of a command.
pub(crate) type Outcome<T> = Result<T, Failure>;

/// Why a step ended early.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// Ctrl-C or SIGTERM: whatever runs is being taken down.
    Interrupted,
    /// The machine lacks something that a broker needs; the remedy is a command or a sentence.
    Lacks {
        /// What is not there.
        what: String,
        /// How to bring it.
        remedy: String,
    },
    /// Anything else, in words for the person at the terminal.
    Said(String),
}

impl Failure {
    /// A failure in words.
    pub(crate) fn said(words: impl Into<String>) -> Self {
        Self::Said(words.into())
    }
}

impl std::error::Error for Failure {}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interrupted => f.write_str("interrupted"),
            Self::Lacks { what, remedy } => write!(f, "{what}; remedy: {remedy}"),
            Self::Said(words) => f.write_str(words),
        }
    }
}

/// Puts what was being done in front of an I/O error.
pub(crate) trait While<T> {
    /// Names the action, as in `while_doing("read state.json")`.
    fn while_doing(self, action: impl fmt::Display) -> Outcome<T>;
}

impl<T, E: fmt::Display> While<T> for Result<T, E> {
    fn while_doing(self, action: impl fmt::Display) -> Outcome<T> {
        self.map_err(|error| Failure::Said(format!("could not {action}: {error}")))
    }
}
