//! A publish that the server refuses: what follows in its key is held back, and everything else goes on.

use crate::{
    fake::{PublishScript, Published, Script, text},
    site::Own,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};
use throughline::{Error, Message, Publisher};
use tonic::Status;

const MESSAGES: u32 = 50;

/// One message of a key is refused. Those that were sent behind it are not published and told so, another key is not held
/// up; sent again in their order, all are there in order and none twice. Whoever hears of a failure may send again at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_again_after_a_refusal_is_in_order() {
    let refuses = Arc::new(AtomicBool::new(true));
    let publish = PublishScript::new(move |asked| {
        let has_it = asked.messages.iter().any(|message| text(message) == "a-7");
        match has_it && refuses.swap(false, SeqCst) {
            true => Published::Refused(Status::permission_denied("not now")),
            false => Published::Taken,
        }
    });
    let broker = Own::start(Script { publish, ..Script::default() }).await;
    let publisher = Publisher::new(broker.pubsub.topic("t").linger(Duration::from_millis(1)));
    let message = |key: &'static str, n: u32| Message::new(format!("{key}-{n}")).with_key(key);
    let both = (0..MESSAGES).flat_map(|n| [message("a", n), message("b", n)]);
    let answers = publisher.send_all(both).await;
    let (mut failed, mut others) = (Vec::new(), 0);
    for (n, answer) in answers.into_iter().enumerate() {
        match (n % 2, answer) {
            (0, Err(error)) => failed.push((n as u32 / 2, error.downcast::<Error>().unwrap())),
            (_, answer) => others += usize::from(answer.is_ok()),
        }
    }
    assert_eq!(failed.len() + others, 2 * MESSAGES as usize, "the other key went on");
    assert!(failed.iter().map(|(n, _)| *n).is_sorted() && failed[0].0 <= 7);
    assert_eq!(failed.last().unwrap().0, MESSAGES - 1, "what is behind it was held back");
    let again = failed.iter().map(|(n, _)| message("a", *n));
    assert!(publisher.send_all(again).await.iter().all(Result::is_ok));
    for key in ["a", "b"] {
        let of_key = broker.published().into_iter().filter(|message| message.ordering_key == key);
        let expected: Vec<_> = (0..MESSAGES).map(|n| format!("{key}-{n}")).collect();
        assert_eq!(of_key.map(|message| text(&message)).collect::<Vec<_>>(), expected);
    }
}
