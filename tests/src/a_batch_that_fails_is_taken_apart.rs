//! What becomes of a batch of which not everything succeeds.

use crate::{
    Inbox, LONG, Site, Stage, Told, eventually,
    steps::{
        creation, deliveries, error_type, header, hush_injected_panics, named, note, number, numbers, parse,
    },
    until,
};
use std::time::Duration;
use throughline::{
    Answers, Backoff, Batch, BatchPolicy, BoxError, DeadLetter, Json, Message, Next, Ordering, Redelay,
    RetryLayer, Settlement, State, Worker, batch_handler_with, dead_letter, from_fn, handler_with,
};
use throughline_test::{Expect, Graph};
use tower::ServiceBuilder;

const POISON: u64 = 13;

fn soon() -> Redelay {
    Redelay::exponential(Duration::from_millis(5), Duration::from_millis(20))
}

fn batches_of(messages: usize) -> BatchPolicy {
    BatchPolicy::at_most(messages).within(2 * LONG)
}

/// Ten messages, the third comes again later, all others are done: exactly two are committed, though all were one
/// batch; after a restart the third comes again.
pub async fn a_nacked_message_holds_the_commit_below_it<B: Site>(broker: &B) {
    let mut stage = Stage::new(broker);
    let topic = stage.topic(1).await;
    let group = Stage::<B>::group(&topic);
    let (told, mut inbox) = Inbox::new();
    let later = told.clone();
    let worker = Worker::batches("w", stage.subscription(&topic), batches_of(10), move || {
        batch_handler_with(later.clone(), nack_the_third)
    });
    let handle = stage.spawn(worker.ordering(Ordering::None));
    stage.publish(&topic, 0..10).await;
    assert_eq!(numbers(&inbox.next().await), Vec::from_iter(0..10));
    until("nine are acknowledged", || handle.status().counts.acked == 9).await;
    let status = handle.status();
    assert_eq!((status.counts.nacked, status.counts.put_aside), (1, 0));
    until("one is parked", || handle.status().parked == 1).await;
    let committed = || broker.committed(&topic, &group);
    eventually("the prefix is committed", committed, |at| at.get(&0) == Some(&2)).await;
    stage.drain().await;
    assert_eq!(committed().await.get(&0), Some(&2), "also after the drain");

    let policy = BatchPolicy::at_most(10).within(Duration::from_millis(20));
    stage.spawn(Worker::batches("w", stage.subscription(&topic), policy, move || {
        batch_handler_with(told.clone(), tell)
    }));
    let mut again = Vec::new();
    while again.len() < 8 {
        again.extend(numbers(&inbox.next().await));
    }
    assert_eq!(again, Vec::from_iter(2..10));
    eventually("everything is committed", committed, |at| at.get(&0) == Some(&10)).await;
    let graph = stage.end().await;
    graph.check(&Expect::new().sends(10).deliveries(18).redeliveries(8)).unwrap();
    let first = named(&graph, &format!("{} {topic}", B::PROCESS))[0];
    assert_eq!(error_type(first).as_deref(), Some("nack"), "one that failed is told on the span");
}

async fn nack_the_third(batch: Batch, State(told): State<Told<Batch>>) -> Answers {
    told.tell(batch);
    Answers::ack().but(2, Settlement::retry_after(LONG))
}

async fn tell(batch: Batch, State(told): State<Told<Batch>>) {
    told.tell(batch);
}

/// One of twenty cannot be decoded: the handler gets nineteen in one call, the other is in the dead letters with the
/// context that it was first published with, and nothing comes again.
pub async fn what_cannot_be_decoded_is_set_apart<B: Site>(broker: &B) {
    let mut stage = Stage::new(broker);
    let (topic, letters) = (stage.topic(1).await, stage.topic(1).await);
    let (told, mut inbox) = Inbox::new();
    let mut dead = dead_letters(&mut stage, &letters);
    let letters = DeadLetter::to(stage.publisher(&letters));
    let worker = Worker::batches("w", stage.subscription(&topic), batches_of(20), move || {
        batch_handler_with(told.clone(), decoded)
    });
    let handle = stage.spawn(worker.dead_letter(letters));
    let payload = |n: u64| Message::new(if n == POISON { "{".to_owned() } else { n.to_string() });
    for receipt in stage.publisher(&topic).send_all((0..20).map(payload)).await {
        receipt.unwrap();
    }
    let rest = Vec::from_iter((0..20).filter(|n| *n != POISON));
    assert_eq!(inbox.next().await, (rest.clone(), rest));
    let letter = dead.next().await;
    until("all are counted", || handle.status().counts.put_aside == 1 && handle.status().counts.acked == 19)
        .await;
    let graph = stage.end().await;
    graph.check(&Expect::new().sends(21).deliveries(21).process_spans(2).components(1)).unwrap();
    assert_eq!(header(&letter, dead_letter::ERROR_TYPE), Some("rejected"));
    assert_eq!(header(&letter, dead_letter::ATTEMPTS), Some("1"));
    original_context(&graph, &topic, &letter, POISON);
    let process = named(&graph, &format!("{} {topic}", B::PROCESS))[0];
    assert_eq!(error_type(process).as_deref(), Some("rejected"));
}

type Seen = (Vec<u64>, Vec<u64>);

async fn decoded(values: Vec<Json<u64>>, batch: Batch, State(told): State<Told<Seen>>) {
    told.tell((values.into_iter().map(|Json(n)| n).collect(), numbers(&batch)));
}

/// The worker behind the dead letters.
fn dead_letters<B: Site>(stage: &mut Stage<'_, B>, letters: &str) -> Inbox {
    let (told, inbox) = Inbox::new();
    let subscription = stage.subscription(letters);
    stage.spawn(Worker::new("letters", subscription, move || handler_with(told.clone(), note)));
    inbox
}

/// The letter names the send of its own message, not of another in the batch, and was sent inside of the batch.
fn original_context(graph: &Graph, topic: &str, letter: &Message, offset: u64) {
    let first = graph.get(parse(header(letter, dead_letter::TRACEPARENT).unwrap())).expect("the first send");
    assert_eq!(first.name, format!("send {topic}"));
    assert_eq!(header(letter, dead_letter::OFFSET), Some(&*offset.to_string()));
    let send = graph.get(creation(letter)).unwrap();
    let failed = graph.get(send.parent.expect("sent inside the batch")).unwrap();
    let link =
        failed.links.iter().find(|link| link.to == first.id).expect("the batch links to the first send");
    let on_link = link.attributes.iter().find(|(name, _)| name.ends_with(".offset"));
    assert_eq!(on_link.and_then(|(_, value)| value.as_u64()), Some(offset));
}

/// One message makes every batch fail that it is in. The batch is taken apart until it is alone: it is in the dead
/// letters after the failures that it had, and none of the others is, though they failed with it.
pub async fn of_a_batch_that_fails_only_the_cause_is_put_aside<B: Site>(broker: &B) {
    take_apart(broker, fail, "_OTHER").await;
}

/// The same where the handler panics.
pub async fn of_a_batch_that_panics_only_the_cause_is_put_aside<B: Site>(broker: &B) {
    hush_injected_panics();
    take_apart(broker, panic, "panic").await;
}

async fn take_apart<B, F, T>(broker: &B, handle: F, error: &str)
where
    B: Site,
    F: throughline::BatchHandler<T, Told<Batch>> + Sync,
    T: 'static,
{
    const MESSAGES: usize = 64;
    let mut stage = Stage::new(broker);
    let (topic, letters) = (stage.topic(1).await, stage.topic(1).await);
    let (told, mut inbox) = Inbox::new();
    let mut dead = dead_letters(&mut stage, &letters);
    // Two are enough for a dead letter, and most have failed twice before the cause is alone.
    let letters = DeadLetter::to(stage.publisher(&letters)).after(2);
    let worker = Worker::batches("w", stage.subscription(&topic), batches_of(MESSAGES), move || {
        batch_handler_with(told.clone(), handle.clone())
    });
    let worker = stage.spawn(worker.redelay(soon()).dead_letter(letters));
    stage.publish(&topic, 0..MESSAGES as u64).await;
    let mut done = Vec::new();
    while done.len() < MESSAGES - 1 {
        done.extend(numbers(&inbox.next().await));
    }
    let letter = dead.next().await;
    let counts = || worker.status().counts;
    until("all are counted", || counts().acked == MESSAGES as u64 - 1 && counts().put_aside == 1).await;
    let graph = stage.end().await;

    done.sort_unstable();
    assert_eq!(done, Vec::from_iter((0..MESSAGES as u64).filter(|n| *n != POISON)), "each once");
    assert_eq!(number(&letter), POISON);
    assert_eq!(header(&letter, dead_letter::ERROR_TYPE), Some(error));
    original_context(&graph, &topic, &letter, POISON);
    let expect = Expect::new().sends(MESSAGES + 1).deliveries(2 * MESSAGES + 1..).components(1);
    graph.check(&expect).unwrap();
    let failed = named(&graph, &format!("{} {topic}", B::PROCESS)).into_iter().filter_map(error_type).count();
    let panics = if error == "panic" { failed as u64 } else { 0 };
    assert_eq!(counts().panicked, panics, "one handler each");
    assert!((2..=3).contains(&failed), "64, at most 8, 1: {failed}");
}

async fn fail(batch: Batch, State(told): State<Told<Batch>>) -> Result<(), BoxError> {
    if batch.iter().any(|message| number(message) == POISON) {
        return Err("always".into());
    }
    told.tell(batch);
    Ok(())
}

async fn panic(batch: Batch, State(told): State<Told<Batch>>) {
    assert!(batch.iter().all(|message| number(message) != POISON), "injected panic");
    told.tell(batch);
}

/// A batch that fails goes through the retry layer like a message: the second try is a span below its process span, and
/// nothing comes again.
pub async fn a_retry_tries_the_batch_again<B: Site>(broker: &B) {
    let mut stage = Stage::new(broker);
    let topic = stage.topic(1).await;
    let (told, mut inbox) = Inbox::new();
    let policy = Backoff::exponential(2).starting_at(Duration::from_millis(1));
    let stack = move || {
        let retry = RetryLayer::new(policy.clone());
        ServiceBuilder::new().layer(retry).timeout(LONG).service(batch_handler_with(told.clone(), fail_once))
    };
    stage.spawn(Worker::batches("w", stage.subscription(&topic), batches_of(5), stack));
    stage.publish(&topic, 0..5).await;
    let tries = inbox.take(2).await;
    assert!(tries.iter().all(|batch| numbers(batch) == Vec::from_iter(0..5) && deliveries(&batch[0]) == 1));
    let graph = stage.end().await;
    let expect = Expect::new().sends(5).process_spans(1).deliveries(5).attempts(1).links(11).components(1);
    graph.check(&expect).unwrap();
    assert!(graph.spans().iter().all(|span| span.status.is_unset()), "the retry absorbed it");
}

async fn fail_once(batch: Batch, State(told): State<Told<Batch>>) -> Result<(), BoxError> {
    let tries = batch.extensions().get::<throughline::trace::Trail>().map_or(0, |trail| trail.attempts());
    told.tell(batch);
    if tries < 2 { Err("the first time".into()) } else { Ok(()) }
}

/// Layers that know nothing of batches go around them, and so does a middleware of the user's: a handler that takes too
/// long is a failure of the batch, whose messages come again.
pub async fn layers_go_around_a_batch<B: Site>(broker: &B) {
    let mut stage = Stage::new(broker);
    let topic = stage.topic(1).await;
    let (told, mut inbox) = Inbox::new();
    let stack = move || {
        ServiceBuilder::new()
            .layer(from_fn(second_time_only))
            .concurrency_limit(1)
            // Far above what a handler that answers takes.
            .timeout(Duration::from_millis(50))
            .service(batch_handler_with(told.clone(), hang_the_first_time))
    };
    let worker = Worker::batches("w", stage.subscription(&topic), batches_of(8), stack);
    let handle = stage.spawn(worker.redelay(soon()));
    stage.publish(&topic, 0..8).await;
    assert_eq!(numbers(&inbox.next().await), Vec::from_iter(0..8));
    until("each is acknowledged", || handle.status().counts.acked == 8).await;
    assert_eq!(handle.status().counts.nacked, 8 + 8);
    let graph = stage.end().await;
    graph.check(&Expect::new().sends(8).deliveries(8 + 8 + 8).components(1)).unwrap();
    let errors = named(&graph, &format!("{} {topic}", B::PROCESS)).into_iter().filter_map(error_type);
    let errors: Vec<_> = errors.collect();
    assert_eq!(errors[0], "timeout", "of all");
    assert_eq!(errors[1..], ["nack"; 8], "by the middleware, each alone");
}

async fn hang_the_first_time(batch: Batch, State(told): State<Told<Batch>>) {
    let first = deliveries(&batch[0]) == 1;
    told.tell(batch);
    if first {
        std::future::pending::<()>().await;
    }
}

/// Answers a second delivery itself.
async fn second_time_only(batch: Batch, next: Next<Batch>) -> Result<Answers, BoxError> {
    if deliveries(&batch[0]) == 2 {
        return Ok(Answers::all(Settlement::retry_after(Duration::from_millis(1))));
    }
    next.run(batch).await
}

/// More answers than messages are no answer: everything comes again, and nothing is taken for done.
pub async fn a_wrong_number_of_answers_acknowledges_nothing<B: Site>(broker: &B) {
    let mut stage = Stage::new(broker);
    let topic = stage.topic(1).await;
    let (told, mut inbox) = Inbox::new();
    let worker = Worker::batches("w", stage.subscription(&topic), batches_of(3), move || {
        batch_handler_with(told.clone(), answer_one_too_few)
    });
    let handle = stage.spawn(worker.redelay(soon()));
    stage.publish(&topic, 0..3).await;
    assert_eq!(numbers(&inbox.next().await), [0, 1, 2]);
    let mut again: Vec<_> = inbox.take(3).await.iter().flat_map(numbers).collect();
    again.sort_unstable();
    assert_eq!(again, [0, 1, 2], "each alone");
    until("all are acknowledged", || handle.status().counts.acked == 3).await;
    assert_eq!(handle.status().counts.nacked, 3);
    let graph = stage.end().await;
    graph.check(&Expect::new().sends(3).process_spans(4).deliveries(6)).unwrap();
}

async fn answer_one_too_few(batch: Batch, State(told): State<Told<Batch>>) -> Vec<Settlement> {
    let answers = if batch.len() == 1 { 1 } else { batch.len() - 1 };
    told.tell(batch);
    vec![Settlement::Ack; answers]
}

/// A drain closes a batch that is not full: its messages are handled and not given back.
pub async fn a_drain_closes_a_half_full_batch<B: Site>(broker: &B) {
    let mut stage = Stage::new(broker);
    let topic = stage.topic(1).await;
    let (told, mut inbox) = Inbox::new();
    let handle = stage.spawn(Worker::batches("w", stage.subscription(&topic), batches_of(100), move || {
        batch_handler_with(told.clone(), tell)
    }));
    stage.publish(&topic, 0..3).await;
    until("they wait", || handle.status().waiting == 3).await;
    assert!(inbox.is_empty());
    stage.drain().await;
    assert_eq!(numbers(&inbox.next().await), [0, 1, 2]);
    assert_eq!(handle.status().counts.acked, 3);
    let group = Stage::<B>::group(&topic);
    assert_eq!(broker.committed(&topic, &group).await.get(&0), Some(&3));
    let graph = stage.end().await;
    graph.check(&Expect::new().sends(3).process_spans(1).deliveries(3).components(1)).unwrap();
}
