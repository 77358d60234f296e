//! The actors: ours, which supervise workers, and the user's, which may be handlers.
//!
//! Nothing outside this folder names actix.

mod context;
mod gate;
mod plane;
mod service;

pub use context::Context;
pub(crate) use plane::{Plane, Recipe, Replica};
pub use service::{ActorService, Consume};
