//! A sink that is chosen at run time.

use crate::flush::{self, Flush};
use futures_util::future::BoxFuture;
use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};
use throughline_core::{Destination, Endpoint, Error, Message, Receipt};
use tower::util::BoxCloneSyncService;
use tower_service::Service;

/// Any endpoint; its subscription counterpart is [`BoxSubscription`](crate::BoxSubscription). Costs an allocation a
/// send for the service's clone, and one for its future.
#[derive(Clone)]
pub struct BoxSink {
    service: BoxCloneSyncService<Message, Receipt, Error>,
    destination: Arc<Destination>,
    flush: Flush,
}

impl BoxSink {
    /// Hides the type.
    pub fn new<K: Endpoint>(endpoint: K) -> Self {
        let (destination, flush) = (endpoint.destination(), flush::of(endpoint.clone()));
        BoxSink { service: BoxCloneSyncService::new(endpoint), destination, flush }
    }
}

impl Endpoint for BoxSink {
    fn destination(&self) -> Arc<Destination> {
        self.destination.clone()
    }

    async fn flush(&self) -> Result<(), Error> {
        (self.flush)().await
    }
}

impl Service<Message> for BoxSink {
    type Response = Receipt;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Receipt, Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, message: Message) -> Self::Future {
        self.service.call(message)
    }
}

impl fmt::Debug for BoxSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoxSink").field("destination", &self.destination.name).finish()
    }
}
