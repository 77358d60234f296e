//! What a handler can ask for.

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use std::convert::Infallible;
use throughline_core::{BoxError, Headers, Lease, Message, Origin, Rejected};

/// Takes a value from a message and the handler's state.
///
/// Synchronous, so that extraction needs no boxed future. A rejection that is [`Rejected`] sends the message to the
/// dead letters; any other error counts like an error of the handler.
///
/// ```
/// use throughline::{FromMessage, Message, Rejected};
///
/// struct Tenant(String);
///
/// impl<S> FromMessage<S> for Tenant {
///     type Rejection = Rejected;
///
///     fn from_message(message: &Message, _: &S) -> Result<Self, Rejected> {
///         let value = message.headers().get("tenant").ok_or_else(|| Rejected::new("header `tenant` is missing"))?;
///         Ok(Tenant(String::from_utf8_lossy(value).into_owned()))
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be taken from a message with state `{S}`",
    note = "if it is `State<..>`, give the state with `handler_with(state, f)`"
)]
pub trait FromMessage<S>: Sized {
    /// Why it could not be taken.
    type Rejection: Into<BoxError>;

    /// Takes it.
    ///
    /// # Errors
    /// Says why it could not be taken; the handler is not called.
    fn from_message(message: &Message, state: &S) -> Result<Self, Self::Rejection>;

    /// Takes it from a message that nobody else needs, as the last extractor of a handler does. To be written by what
    /// keeps the message; all else takes it as ever.
    ///
    /// # Errors
    /// As those of [`from_message`](Self::from_message).
    fn from_owned(message: Message, state: &S) -> Result<Self, Self::Rejection> {
        Self::from_message(&message, state)
    }
}

/// The payload, parsed as JSON. As `Option<Json<T>>` it is `None` for a tombstone; a payload that is there and is not
/// a `T` is rejected in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Json<T>(pub T);

/// The value that was given to [`handler_with`](crate::handler_with).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State<T>(pub T);

/// A value that a layer put into the message's extensions; rejected if there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extension<T>(pub T);

impl<T: Serialize> Json<T> {
    /// A message with this as its payload.
    ///
    /// ```
    /// # use throughline::Json;
    /// assert_eq!(Json([1, 2]).to_message()?.payload().as_ref(), b"[1,2]");
    /// # Ok::<_, throughline::BoxError>(())
    /// ```
    ///
    /// # Errors
    /// What `serde_json` cannot write, such as a map whose keys are not text.
    pub fn to_message(&self) -> Result<Message, serde_json::Error> {
        serde_json::to_vec(&self.0).map(Message::new)
    }
}

impl<S, T: DeserializeOwned> FromMessage<S> for Json<T> {
    type Rejection = Rejected;

    fn from_message(message: &Message, _: &S) -> Result<Self, Rejected> {
        let Some(payload) = message.payload_opt() else {
            return Err(Rejected::new("a tombstone has no JSON; take Option<Json<_>> to handle it"));
        };
        serde_json::from_slice(payload).map(Json).map_err(Rejected::new)
    }
}

impl<S, T: DeserializeOwned> FromMessage<S> for Option<Json<T>> {
    type Rejection = Rejected;

    fn from_message(message: &Message, state: &S) -> Result<Self, Rejected> {
        if message.is_tombstone() { Ok(None) } else { Json::from_message(message, state).map(Some) }
    }
}

impl<T: Clone> FromMessage<T> for State<T> {
    type Rejection = Infallible;

    fn from_message(_: &Message, state: &T) -> Result<Self, Infallible> {
        Ok(State(state.clone()))
    }
}

impl<S, T: Clone + Send + Sync + 'static> FromMessage<S> for Extension<T> {
    type Rejection = Rejected;

    fn from_message(message: &Message, _: &S) -> Result<Self, Rejected> {
        let value = message.extensions().get::<T>().cloned().map(Extension);
        value.ok_or_else(|| {
            Rejected::new(format!("no layer added an extension {}", std::any::type_name::<T>()))
        })
    }
}

/// The message itself, everything in it.
impl<S> FromMessage<S> for Message {
    type Rejection = Infallible;

    fn from_message(message: &Message, _: &S) -> Result<Self, Infallible> {
        Ok(message.clone())
    }

    fn from_owned(message: Message, _: &S) -> Result<Self, Infallible> {
        Ok(message)
    }
}

/// The payload; empty for a tombstone.
impl<S> FromMessage<S> for Bytes {
    type Rejection = Infallible;

    fn from_message(message: &Message, _: &S) -> Result<Self, Infallible> {
        Ok(message.payload().clone())
    }
}

/// The headers as they came.
impl<S> FromMessage<S> for Headers {
    type Rejection = Infallible;

    fn from_message(message: &Message, _: &S) -> Result<Self, Infallible> {
        Ok(message.headers().clone())
    }
}

/// Where it was received from; rejected for a message that was made here.
impl<S> FromMessage<S> for Origin {
    type Rejection = Rejected;

    fn from_message(message: &Message, _: &S) -> Result<Self, Rejected> {
        message.origin().cloned().ok_or_else(|| Rejected::new("the message was not received from a broker"))
    }
}

/// Whether the message is still ours.
impl<S> FromMessage<S> for Lease {
    type Rejection = Infallible;

    fn from_message(message: &Message, _: &S) -> Result<Self, Infallible> {
        Ok(message.lease().clone())
    }
}
