//! Tower layers that fail, panic or stall on purpose, around a service of any request.
//!
//! They count over all clones of what they made, so that "every tenth call" holds for a worker with replicas too.

mod fail;
mod panic;
mod stall;

pub use fail::{Fail, FailFuture, FailLayer, Injected};
pub use panic::{Panic, PanicIn, PanicLayer, ResponseFuture};
pub use stall::{Gate, Stall, StallLayer};

#[cfg(test)]
mod tests_support {
    use std::{
        convert::Infallible,
        future::{Ready, ready},
        task::{Context, Poll},
    };
    use tower_service::Service;

    #[derive(Clone)]
    pub(super) struct Echo;

    impl Service<u32> for Echo {
        type Response = u32;
        type Error = Infallible;
        type Future = Ready<Result<u32, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: u32) -> Self::Future {
            ready(Ok(request))
        }
    }

    pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }
}
