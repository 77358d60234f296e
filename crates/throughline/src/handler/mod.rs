//! Typed handlers: an async fn of extractors is a Tower service.

mod batch;
mod carried;
mod extract;
mod function;
mod service;

pub use batch::{BatchHandler, BatchHandlerService, FromBatch, SetApart, batch_handler, batch_handler_with};
pub(crate) use carried::carried;
pub use extract::{Extension, FromMessage, Json, State};
pub use function::{HandlerFuture, MessageHandler};
pub use service::{HandlerService, handler, handler_with};
