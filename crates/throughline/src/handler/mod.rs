//! Typed handlers: an async fn of extractors is a Tower service.

mod batch;
mod extract;
mod function;
mod service;

pub use batch::{BatchHandler, BatchHandlerService, FromBatch, SetApart, batch_handler, batch_handler_with};
pub use extract::{Extension, FromMessage, Json, State};
pub(crate) use function::carried;
pub use function::{HandlerFuture, MessageHandler};
pub use service::{HandlerService, handler, handler_with};
