//! What every client of librdkafka shares: logins, what is wrong with a connection, and errors.

pub(crate) mod block_on;
pub(crate) mod errors;
pub(crate) mod log;
pub(crate) mod oauth;
pub(crate) mod refusal;
pub(crate) mod security;
