//! From the publisher to the broker.

pub(crate) mod limits;
pub(crate) mod pending;
pub(crate) mod producer;
pub(crate) mod reports;
pub(crate) mod sink;
