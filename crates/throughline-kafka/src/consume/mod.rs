//! From the broker to the worker and back: the poll thread, what it holds, and how that is settled and committed.

pub(crate) mod asking;
pub(crate) mod assignment;
pub(crate) mod buffer;
pub(crate) mod codec;
pub(crate) mod commit;
pub(crate) mod connect;
pub(crate) mod context;
pub(crate) mod exchange;
pub(crate) mod hooks;
pub(crate) mod offsets;
pub(crate) mod partitions;
pub(crate) mod pausing;
pub(crate) mod placing;
pub(crate) mod poll;
pub(crate) mod positions;
pub(crate) mod settler;
pub(crate) mod slots;
pub(crate) mod source;
pub(crate) mod statistics;
pub(crate) mod stock;
pub(crate) mod subscription;
pub(crate) mod topic_ids;
pub(crate) mod transactional;
pub(crate) mod trouble;
