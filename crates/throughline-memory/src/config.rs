//! What to subscribe to, and from where.

use std::time::SystemTime;

/// Where a group begins in a partition of which it has committed nothing yet. A group that has goes on from there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With the oldest message that is still there.
    #[default]
    Earliest,
    /// With what is published after the first member subscribed.
    Latest,
    /// With this offset in every partition, or the nearest one that is there.
    Offset(i64),
    /// With the first message of this time or later; at the end if there is none.
    Time(SystemTime),
}

/// One topic or several: `"orders"`, `["orders", "refunds"]`, a `Vec` of names.
pub trait Topics {
    /// The names.
    fn names(self) -> Vec<String>;
}

impl Topics for &str {
    fn names(self) -> Vec<String> {
        vec![self.to_owned()]
    }
}

impl Topics for String {
    fn names(self) -> Vec<String> {
        vec![self]
    }
}

impl<T: Into<String>, const N: usize> Topics for [T; N] {
    fn names(self) -> Vec<String> {
        self.into_iter().map(Into::into).collect()
    }
}

impl<T: Into<String>> Topics for Vec<T> {
    fn names(self) -> Vec<String> {
        self.into_iter().map(Into::into).collect()
    }
}
