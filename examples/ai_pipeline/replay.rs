//! Sends the dead letters again, by somebody's decision.

use crate::{classify::ANY, database::Database};
use throughline::{BoxError, Publisher, forward};

/// Publishes each as a job once more, linked to where it came from, with leave to class it as `other`. Answers how many.
pub(crate) async fn replay(database: &Database, jobs: &Publisher) -> Result<usize, BoxError> {
    let letters = database.letters().await?;
    for (id, _, letter) in &letters {
        let mut job = forward(letter);
        // What the dead letter said of itself is of no use to the worker, and SQS carries ten attributes only.
        job.headers_mut().retain(|header| !header.name.starts_with("throughline-dead-letter-"));
        jobs.send(job.with_header(ANY, "yes")).await?;
        database.replayed(id).await?;
    }
    Ok(letters.len())
}
