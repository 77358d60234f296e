//! Stopping in the middle of the work.

use crate::{
    Inbox, Site, Stage, Told,
    steps::{error_type, named, note, number},
    within,
};
use std::time::{Duration, Instant};
use throughline::{Message, State, Step, Worker, WorkerState, handler_with};
use throughline_test::{Expect, fault::StallLayer};
use tower::ServiceBuilder;

const MESSAGES: usize = 2_000;

/// Stopped three times among 2,000 messages: what runs finishes, what waits comes again, and in the end each message
/// was handled exactly once, with one process span.
pub async fn a_stop_in_the_middle_is_exact<B: Site>(broker: &B) {
    let mut stage = Stage::new(broker);
    let topic = stage.topic(3).await;
    let (told, mut inbox) = Inbox::new();
    let messages = (0..MESSAGES).map(|n| Message::new(n.to_string()));
    assert!(stage.publisher(&topic).send_all(messages).await.iter().all(Result::is_ok));
    let mut handled = Vec::new();
    for part in 0..4 {
        let told = told.clone();
        let stack = move || handler_with(told.clone(), slowly);
        stage.spawn(Worker::new("w", stage.subscription(&topic), stack).in_flight(32));
        let enough = if part < 3 { 300 } else { MESSAGES - handled.len() };
        handled.extend(inbox.take(enough).await.iter().map(number));
        stage.drain().await;
        // What ran at that moment has finished and told, too.
        while !inbox.is_empty() {
            handled.push(number(&inbox.next().await));
        }
    }
    handled.sort_unstable();
    assert!(handled.iter().copied().eq(0..MESSAGES as u64), "each exactly once");
    let graph = stage.end().await;
    let expect = Expect::new()
        .spans(2 * MESSAGES)
        .sends(MESSAGES)
        .process_spans(MESSAGES)
        .links(MESSAGES)
        .components(MESSAGES);
    graph.check(&expect).unwrap();
    assert!(graph.spans().iter().all(|span| span.status.is_unset()));
}

async fn slowly(message: Message, State(told): State<Told>) {
    tokio::time::sleep(Duration::from_millis(1)).await; // the work
    told.tell(message);
}

/// A handler that never ends is cut off before the end of the grace: `until` names the step, its span ends as
/// cancelled, and its message comes again, as does the one that waited behind it.
pub async fn a_handler_that_does_not_end_is_cut_off_and_comes_again<B: Site>(broker: &B) {
    const GRACE: Duration = Duration::from_secs(3);
    let mut stage = Stage::new(broker);
    let topic = stage.topic(1).await;
    let (told, mut inbox) = Inbox::new();
    let (stall, gate) = StallLayer::new();
    let never_told = told.clone();
    let stack =
        move || ServiceBuilder::new().layer(stall.clone()).service(handler_with(never_told.clone(), note));
    let handle = stage.spawn(Worker::new("w", stage.subscription(&topic), stack));
    let publisher = stage.publisher(&topic);
    publisher.send(Message::new("1").with_key("k")).await.unwrap();
    within("it runs", gate.until_held(1)).await;
    publisher.send(Message::new("2").with_key("k")).await.unwrap();
    crate::until("the second waits", || handle.status().waiting == 1).await;

    let since = Instant::now();
    let ended = within("the drain", stage.runtime().grace(GRACE).until(std::future::ready(()))).await;
    let error = ended.expect_err("a step was missed");
    assert_eq!((error.step(), error.worker()), (Step::Handlers, Some("w")));
    assert!(
        since.elapsed() < GRACE + Duration::from_secs(1),
        "the grace is for all steps: {:?}",
        since.elapsed()
    );
    let status = handle.status();
    assert_eq!((status.state, status.counts.cancelled), (WorkerState::Stopped { clean: false }, 1));
    assert!(inbox.is_empty());

    stage.spawn(Worker::new("w", stage.subscription(&topic), move || handler_with(told.clone(), note)));
    let mut handled: Vec<_> = inbox.take(2).await.iter().map(number).collect();
    if !broker.features().order_by_key {
        handled.sort_unstable();
    }
    assert_eq!(handled, [1, 2]);
    let again = stage.redeliveries(1);
    let graph = stage.end().await;
    let expect = Expect::new().spans(5).sends(2).process_spans(3).links(3).redeliveries(again).components(2);
    graph.check(&expect).unwrap();
    let errors: Vec<_> =
        named(&graph, &format!("{} {topic}", B::PROCESS)).into_iter().map(error_type).collect();
    assert_eq!(errors, [Some("cancelled".to_owned()), None, None]);
}
