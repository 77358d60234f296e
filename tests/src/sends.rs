//! What becomes of the sends of a publisher whose broker comes and goes.

use crate::Run;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use throughline::{Error, Message, Publisher};
use throughline_test::{Entry, Ev};

/// What the callers of a publisher were told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sends {
    /// Sends that the broker confirmed; each is a produced id of the run.
    pub acknowledged: u64,
    /// Sends that failed, each with an error that its caller may be told.
    pub failed: u64,
}

/// What the caller of a send may be told, in place of a receipt.
pub type Tellable = fn(&Error) -> bool;

/// Sends these ids at this pace until it is over, never waiting for the one before; then gives what each caller was told.
/// `tellable` is asked as a send begins.
pub async fn send_until_over(
    publisher: Publisher,
    run: Run,
    ids: impl Iterator<Item = u64>,
    pace: Duration,
    over: Arc<AtomicBool>,
    tellable: impl Fn() -> Tellable,
) -> Sends {
    let mut sends = Vec::new();
    for id in ids {
        if over.load(Ordering::SeqCst) {
            break;
        }
        let tellable = tellable();
        let (send, run) = (publisher.send(Message::new(id.to_string())), run.clone());
        sends.push(tokio::spawn(async move {
            match send.await {
                Ok(_) => {
                    run.record(Entry::new(Ev::Produced, id));
                    true
                }
                Err(error) => {
                    let error = error.downcast::<Error>().expect("a typed error");
                    assert!(tellable(&error), "{error}");
                    false
                }
            }
        }));
        tokio::time::sleep(pace).await;
    }
    let mut told = Sends::default();
    for send in sends {
        *(if send.await.unwrap() { &mut told.acknowledged } else { &mut told.failed }) += 1;
    }
    told
}
