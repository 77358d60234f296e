//! The first worker: what kind of text is it?

use crate::documents::Document;
use serde::{Deserialize, Serialize};
use std::{fmt, sync::Arc, time::Duration};
use throughline::{
    Backoff, BoxError, BoxSubscription, DeadLetter, Json, Message, Publisher, Rejected, RetryLayer, State,
    Worker, handler_with,
};
use tokio::sync::Semaphore;
use tower::ServiceBuilder;

/// The identity of a document, as a header.
const ID: &str = "document-id";
const HEADING: &str = "document-heading";

/// What comes out.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Classified {
    pub(crate) id: String,
    pub(crate) heading: String,
    pub(crate) class: Class,
    pub(crate) words: usize,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Class {
    Code,
    List,
    Prose,
    Table,
}

/// A classifier that takes few texts at once, and says so instead of queueing: that is what the retries are for.
#[derive(Clone)]
pub(crate) struct Model(Arc<Semaphore>);

#[derive(Debug)]
struct Busy;

#[derive(Clone)]
struct Desk {
    model: Model,
    classified: Publisher,
}

/// A document as a message: its text is the payload, as the file has it.
pub(crate) fn message(document: &Document) -> Message {
    Message::new(document.text.clone())
        .with_key(document.path.clone())
        .with_header(ID, format!("{}#{}", document.path, document.number))
        .with_header(HEADING, document.heading.clone())
}

/// A text that is not UTF-8 can never be classified: it goes to the dead letters.
pub(crate) fn worker(subscription: BoxSubscription, classified: Publisher, dead: Publisher) -> Worker {
    let desk = Desk { model: Model(Arc::new(Semaphore::new(2))), classified };
    let stack = move || {
        ServiceBuilder::new()
            .layer(RetryLayer::new(Backoff::exponential(8).starting_at(Duration::from_millis(2))))
            .timeout(Duration::from_secs(10))
            .service(handler_with(desk.clone(), classify))
    };
    Worker::new("classify", subscription, stack)
        .in_flight(16)
        .ordering(throughline::Ordering::None)
        .dead_letter(DeadLetter::to(dead))
}

async fn classify(message: Message, State(desk): State<Desk>) -> Result<(), BoxError> {
    let header = |name| {
        let value = message.headers().get(name).map(|value| String::from_utf8_lossy(value).into_owned());
        value.ok_or_else(|| Rejected::new(format!("header `{name}` is missing")))
    };
    let (id, heading) = (header(ID)?, header(HEADING)?);
    let text = String::from_utf8(message.payload().to_vec()).map_err(Rejected::new)?;
    let (class, words) = desk.model.classify(text).await?;
    let classified = Classified { id, heading, class, words };
    let mut result = Json(&classified).to_message()?;
    if let Some(key) = message.key() {
        result = result.with_key(key.clone());
    }
    desk.classified.send(result).await?;
    Ok(())
}

impl Model {
    async fn classify(&self, text: String) -> Result<(Class, usize), BoxError> {
        let _place = self.0.try_acquire().map_err(|_| Busy)?;
        Ok(tokio::task::spawn_blocking(move || (class(&text), text.split_whitespace().count())).await?)
    }
}

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the classifier is busy")
    }
}

impl std::error::Error for Busy {}

/// What most of its lines are.
fn class(text: &str) -> Class {
    let (mut code, mut list, mut table, mut prose, mut fenced) = (0, 0, 0, 0, false);
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let start = line.trim_start();
        if start.starts_with("```") || start.starts_with("~~~") {
            fenced = !fenced;
        }
        let count = if fenced || line.starts_with("    ") {
            &mut code
        } else if start.starts_with('|') {
            &mut table
        } else if start.starts_with("- ") || start.starts_with("* ") {
            &mut list
        } else {
            &mut prose
        };
        *count += 1;
    }
    let counts = [(prose, Class::Prose), (list, Class::List), (table, Class::Table), (code, Class::Code)];
    counts.into_iter().max_by_key(|(lines, _)| *lines).map_or(Class::Prose, |(_, class)| class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_lines_decide() {
        assert_eq!(class("# Title\nsome words\nand more\n- one\n"), Class::Prose);
        assert_eq!(class("```\na\nb\n```\nwords\n"), Class::Code);
        assert_eq!(class("# T\n| a |\n|---|\n| b |\n"), Class::Table);
        assert_eq!(class("- a\n- b\n"), Class::List);
    }
}
