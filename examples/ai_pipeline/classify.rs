//! The first worker: what kind of document is it?

use crate::{embedding, model};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use throughline::{
    Backoff, BoxError, BoxSubscription, DeadLetter, Json, Message, Ordering, Publisher, Rejected, RetryLayer,
    State, Worker, handler_with,
};
use tower::ServiceBuilder;

/// The identity of a document, as a header.
pub(crate) const ID: &str = "document-id";

/// A header on a replayed document: any text may be classed as `other`.
pub(crate) const ANY: &str = "document-any-class";

/// What comes out.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Classified {
    pub(crate) id: String,
    pub(crate) class: String,
    pub(crate) similarity: f32,
    pub(crate) words: usize,
}

#[derive(Clone)]
struct Desk {
    embedding: embedding::Client,
    classified: Publisher,
}

/// A document as a message: its text is the payload, as it came.
pub(crate) fn job(id: &str, text: Bytes) -> Message {
    Message::new(text).with_header(ID, id.to_owned())
}

pub(crate) fn worker(
    jobs: BoxSubscription,
    embedding: embedding::Client,
    classified: Publisher,
    dead: Publisher,
) -> Worker {
    let desk = Desk { embedding, classified };
    let stack = move || {
        ServiceBuilder::new()
            .layer(RetryLayer::new(Backoff::exponential(8).starting_at(Duration::from_millis(5))))
            .timeout(Duration::from_secs(10))
            .service(handler_with(desk.clone(), classify))
    };
    Worker::new("classify", jobs, stack)
        .in_flight(16)
        .ordering(Ordering::None)
        // Only what is rejected: an embedding service that is away must not make dead letters of good documents.
        .dead_letter(DeadLetter::to(dead).after(u32::MAX))
}

async fn classify(message: Message, State(desk): State<Desk>) -> Result<(), BoxError> {
    let id = id(&message)?;
    let any = message.headers().get(ANY).is_some();
    let text = match std::str::from_utf8(message.payload()) {
        Ok(text) => text.to_owned(),
        Err(_) if any => String::from_utf8_lossy(message.payload()).into_owned(),
        Err(error) => return Err(Rejected::new(error).into()),
    };
    let words = text.split_whitespace().count();
    let (class, similarity) = match desk.embedding.embed(text).await?.nearest {
        Some((class, near)) if near >= model::THRESHOLD => (class, near),
        nearest if any => ("other".to_owned(), nearest.map_or(0.0, |(_, near)| near)),
        Some((class, near)) => {
            let least = model::THRESHOLD;
            let why =
                format!("no class is near enough: `{class}` at {near:.2}, where {least:.2} is asked for");
            return Err(Rejected::new(why).into());
        }
        None => return Err(Rejected::new("there is no text in it").into()),
    };
    let classified = Classified { id, class, similarity, words };
    desk.classified.send(Json(&classified).to_message()?).await?;
    Ok(())
}

/// The identity that came with a message.
pub(crate) fn id(message: &Message) -> Result<String, Rejected> {
    let id = message.headers().get(ID).ok_or_else(|| Rejected::new(format!("header `{ID}` is missing")))?;
    String::from_utf8(id.to_vec()).map_err(Rejected::new)
}
