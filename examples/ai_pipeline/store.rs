//! The workers behind the first one: each writes what it is given to the database, and what comes again only once.

use crate::{
    classify::{self, Classified},
    database::Database,
};
use std::time::Duration;
use throughline::{
    Backoff, BoxError, BoxSubscription, Json, Message, Publisher, RetryLayer, State, Worker, dead_letter,
    handler_with,
};
use tower::ServiceBuilder;

/// Writes the row of each document, then says so.
pub(crate) fn store(classified: BoxSubscription, database: Database, stored: Publisher) -> Worker {
    Worker::new("store", classified, move || patient(handler_with((database.clone(), stored.clone()), save)))
}

/// Notes what was said to be stored.
pub(crate) fn audit(stored: BoxSubscription, database: Database) -> Worker {
    Worker::new("audit", stored, move || patient(handler_with(database.clone(), note)))
}

/// Keeps the dead letters, for somebody to look at and to replay.
pub(crate) fn letters(dead: BoxSubscription, database: Database) -> Worker {
    Worker::new("letters", dead, move || patient(handler_with(database.clone(), keep)))
}

/// A database that is busy is tried again.
fn patient<S>(handler: S) -> tower::util::BoxService<Message, S::Response, BoxError>
where
    S: tower::Service<Message, Error = BoxError> + Clone + Send + 'static,
    S::Response: 'static,
    S::Future: Send,
{
    let stack = ServiceBuilder::new()
        .layer(RetryLayer::new(Backoff::exponential(4)))
        .timeout(Duration::from_secs(10))
        .service(handler);
    tower::util::BoxService::new(stack)
}

async fn save(
    Json(result): Json<Classified>,
    State((database, stored)): State<(Database, Publisher)>,
) -> Result<(), BoxError> {
    database.save(&result).await?;
    let event = Message::new(serde_json::to_vec(&result)?).with_key(result.id);
    stored.send(event).await?;
    Ok(())
}

async fn note(Json(event): Json<Classified>, State(database): State<Database>) -> Result<(), BoxError> {
    Ok(database.note(&event.id).await?)
}

async fn keep(letter: Message, State(database): State<Database>) -> Result<(), BoxError> {
    let reason =
        letter.headers().get(dead_letter::REASON).map(|why| String::from_utf8_lossy(why).into_owned());
    database.keep(&classify::id(&letter)?, &reason.unwrap_or_default(), &letter).await
}
