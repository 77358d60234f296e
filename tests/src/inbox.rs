//! What handlers tell the scenario.

use crate::within;
use throughline::Message;
use tokio::sync::mpsc;

/// The handler's end.
#[derive(Clone, Debug)]
pub struct Told<T = Message>(mpsc::UnboundedSender<T>);

/// The scenario's end.
#[derive(Debug)]
pub struct Inbox<T = Message>(mpsc::UnboundedReceiver<T>);

impl<T> Inbox<T> {
    /// Both ends.
    #[allow(clippy::new_ret_no_self, reason = "an end without the other is of no use")]
    pub fn new() -> (Told<T>, Inbox<T>) {
        let (tell, told) = mpsc::unbounded_channel();
        (Told(tell), Inbox(told))
    }

    /// The next that a handler was given: a message, or a batch of them.
    pub async fn next(&mut self) -> T {
        within("a message for the handler", self.0.recv()).await.expect("the handlers are gone")
    }

    /// So many of them.
    pub async fn take(&mut self, count: usize) -> Vec<T> {
        let mut taken = Vec::with_capacity(count);
        while taken.len() < count {
            taken.push(self.next().await);
        }
        taken
    }

    /// Whether nothing more has come.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T> Told<T> {
    /// Tells.
    pub fn tell(&self, message: T) {
        // A scenario that has seen enough listens no more.
        let _ = self.0.send(message);
    }
}
