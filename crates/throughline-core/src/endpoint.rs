//! The sending side: a sink is a Tower service; an endpoint is a sink that knows its name.

use crate::{Destination, Error, Message};
use bytestring::ByteString;
use std::{future::Future, sync::Arc};
use tower_service::Service;

/// A sink that can say where it sends to.
///
/// The sending itself is the Tower service that it is: an adapter implements both on one cloneable type, and a publisher
/// needs nothing else.
pub trait Endpoint:
    Service<Message, Response = Receipt, Error = Error, Future: Send> + Clone + Send + Sync + 'static
{
    /// Where it sends to; the same `Arc` each time.
    fn destination(&self) -> Arc<Destination>;

    /// Waits until everything that was handed to the client is confirmed or has failed.
    ///
    /// # Errors
    /// Says how many messages were not confirmed. The caller gives up at its own deadline.
    fn flush(&self) -> impl Future<Output = Result<(), Error>> + Send {
        std::future::ready(Ok(()))
    }
}

/// The broker's word that it has the message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// The partition it went to, where the broker has them.
    pub partition: Option<i32>,
    /// Its offset, where the broker has them.
    pub offset: Option<i64>,
    /// The broker's identity for it, where it gives one.
    pub id: Option<ByteString>,
    /// The request that it was sent by, shared by all that were; where the broker is one of requests.
    pub request: Option<Arc<Request>>,
}

/// A request to a broker, and what is known of it only once it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Request {
    /// The broker's identity for it.
    pub id: Option<ByteString>,
    /// The URL of the destination, where the name is all that was known before.
    pub url: Option<ByteString>,
}

impl Request {
    /// With the identity that the broker gave, if it gave one.
    pub fn with_id(id: Option<impl Into<ByteString>>) -> Self {
        Request { id: id.map(Into::into), url: None }
    }
}

impl Receipt {
    /// A place in a partitioned log.
    pub fn at(partition: i32, offset: i64) -> Self {
        Receipt { partition: Some(partition), offset: Some(offset), ..Receipt::default() }
    }

    /// An identity that the broker gave.
    pub fn with_id(id: impl Into<ByteString>) -> Self {
        Receipt { id: Some(id.into()), ..Receipt::default() }
    }
}
