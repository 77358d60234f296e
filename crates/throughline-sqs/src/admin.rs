//! Makes queues: for examples and tests, and for services that bring their own.

use crate::{
    Sqs,
    calls::Calls,
    config::{is_fifo, is_url},
};
use std::time::Duration;
use throughline_core::{Error, ErrorKind};

impl Sqs {
    /// Makes a queue and gives its URL. One that is there already, with the same attributes, is left as it is; a name that
    /// ends in `.fifo` makes a FIFO queue. Attributes are those of `CreateQueue`, such as `("VisibilityTimeout", "60")`.
    ///
    /// # Errors
    /// What keeps us from it, with the queue's name: a name or an attribute that SQS does not take, a queue that is there
    /// with other attributes, and whatever keeps us from reaching SQS.
    pub async fn create_queue<'a>(
        &self,
        name: &str,
        attributes: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<String, Error> {
        if is_url(name) {
            return Err(Error::new(ErrorKind::Config, name, "a queue is made by its name, not by a URL"));
        }
        let fifo = is_fifo(name).then_some(("FifoQueue", "true"));
        let attributes = attributes.into_iter().chain(fifo);
        Calls::unopened(self, name, Duration::ZERO, "CreateQueue").await?.create(attributes).await
    }
}
