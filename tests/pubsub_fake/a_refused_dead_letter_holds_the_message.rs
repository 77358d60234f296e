//! G8: a dead letter that is refused.

use crate::{
    fake::{PublishScript, Published, Script},
    note,
    site::Own,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use throughline::{DeadLetter, Message, Redelay, Rejected, State, Worker, handler_with};
use throughline_tests::{Inbox, Stage, Told, until};
use tonic::Status;

/// How often it is refused.
const REFUSED: usize = 2;

/// As long as its letter is refused, the message is not acknowledged and comes again; when it is taken, it is done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_message_is_held_until_its_letter_is_taken() {
    let tries = Arc::<AtomicUsize>::default();
    let tried = tries.clone();
    let publish = PublishScript::new(move |_| match tried.fetch_add(1, SeqCst) {
        0..REFUSED => Published::Refused(Status::permission_denied("not to this topic")),
        _ => Published::Taken,
    });
    let broker = Own::start(Script { publish, ..Script::default() }).await;
    broker.put(["bad"]);
    let mut stage = Stage::new(&broker);
    let (told, mut inbox) = Inbox::new();
    let dead = DeadLetter::to(stage.publisher("t"));
    let stack = move || handler_with(told.clone(), refuse_the_bad);
    let redelay = Redelay::exponential(Duration::from_millis(50), Duration::from_millis(100));
    let worker = Worker::new("w", stage.subscription("t"), stack).dead_letter(dead).redelay(redelay);
    let handle = stage.spawn(worker);
    until("its letter is taken", || handle.status().counts.put_aside == 1).await;
    assert_eq!(tries.load(SeqCst), REFUSED + 1);
    assert_eq!(broker.nacked(), ["bad"; REFUSED], "it was given back each time");
    until("it is done, and its letter too", || broker.acked() == ["bad"; 2] && broker.held() == (0, 0)).await;
    assert!(inbox.next().await.headers().get("throughline-dead-letter-id").is_some());
    stage.end().await;
}

/// The letter comes back to this subscription, where it is taken.
async fn refuse_the_bad(message: Message, told: State<Told>) -> Result<(), Rejected> {
    if message.headers().get("throughline-dead-letter-id").is_none() {
        return Err(Rejected::new("never"));
    }
    note(message, told).await;
    Ok(())
}
