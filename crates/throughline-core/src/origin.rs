//! Where a message came from or goes to.

use bytestring::ByteString;
use std::{sync::Arc, time::SystemTime};

/// What is the same for every message of one subscription or sink; shared, so that a message holds one pointer.
///
/// The tracing layers prepare span name and attributes once for each `Arc<Destination>`, so an adapter hands out the
/// same `Arc` for as long as nothing in it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Destination {
    /// The value of `messaging.system`, for instance `kafka`.
    pub system: ByteString,
    /// The topic's or queue's name.
    pub name: ByteString,
    /// The low-cardinality pattern that the name was made from, if there is one.
    pub template: Option<ByteString>,
    /// The consumer group.
    pub group: Option<ByteString>,
    /// The subscription, where the broker has such a thing beside the destination.
    pub subscription: Option<ByteString>,
    /// The URL that its broker knows it by, where it has one.
    pub url: Option<ByteString>,
    /// Host and port of the (first) server.
    pub server: Option<(ByteString, u16)>,
    /// The client's own name.
    pub client_id: Option<ByteString>,
}

impl Destination {
    /// A destination that has nothing but a system and a name.
    pub fn new(system: impl Into<ByteString>, name: impl Into<ByteString>) -> Self {
        Destination {
            system: system.into(),
            name: name.into(),
            template: None,
            group: None,
            subscription: None,
            url: None,
            server: None,
            client_id: None,
        }
    }

    /// Host and port of a URL, as [`server`](Self::server) has them; the port of its scheme where it names none. `None`
    /// for what is no URL.
    ///
    /// ```
    /// use throughline_core::Destination;
    ///
    /// assert_eq!(Destination::server_of("http://127.0.0.1:9324/0/q"), Some(("127.0.0.1".into(), 9324)));
    /// assert_eq!(Destination::server_of("https://pubsub.googleapis.com"), Some(("pubsub.googleapis.com".into(), 443)));
    /// ```
    pub fn server_of(url: &str) -> Option<(ByteString, u16)> {
        let (scheme, rest) = url.split_once("://")?;
        let authority = rest.split('/').next()?;
        let standard = if scheme == "http" { 80 } else { 443 };
        match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => Some((host.into(), port.parse().ok()?)),
            _ => Some((authority.into(), standard)),
        }
    }
}

/// Everything the broker said about one received message that is not its content.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Origin {
    /// The topic or queue, shared by all its messages.
    pub destination: Arc<Destination>,
    /// The partition, where the broker has them.
    pub partition: Option<i32>,
    /// The offset in the partition, where the broker has them.
    pub offset: Option<i64>,
    /// When the broker or the producer says it was published; `None` if not said or not a time.
    pub time: Option<SystemTime>,
    /// The broker's identity of the message, where it has one.
    pub id: Option<ByteString>,
    /// How often it was delivered, this time included; 1 the first time. Counted by the broker where it counts, else
    /// by the worker since it received the message.
    pub delivery_count: u32,
}

impl Origin {
    /// An origin of which only the destination is known.
    pub fn new(destination: Arc<Destination>) -> Self {
        Origin { destination, partition: None, offset: None, time: None, id: None, delivery_count: 1 }
    }
}

/// A source's own dense number (from 0) for each partition of each topic that is assigned to it.
///
/// Lanes, permits and the buffer are shared out by it. A broker without partitions uses 0 throughout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartitionIndex(pub u32);
