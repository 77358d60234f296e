//! G9: a panic costs one message.

use crate::{
    Inbox, Run, Site, Stage,
    steps::{error_type, hush_injected_panics, number},
    until,
};
use std::time::Duration;
use throughline::{Message, Redelay, Worker, WorkerState, handler};
use throughline_test::{
    Demands, Entry, Ev, Expect, Kind,
    fault::{PanicIn, PanicLayer},
};
use tower::ServiceBuilder;

/// One handler in a hundred panics, in call, in poll or in drop: the worker goes on without a restart, every message is
/// handled, no permit is lost, and each panic is one process span that says so.
pub async fn one_percent_of_the_handlers_panic<B: Site>(broker: &B) {
    let messages = B::MANY;
    hush_injected_panics();
    // A panic in drop comes after the work was done.
    let demands = Demands::new().ids(messages as u64).duplicates(messages as u64 / 200);
    let run = Run::begin(broker, "G9", demands);
    let mut stage = Stage::new(broker);
    let topic = stage.topic(3).await;
    let (told, mut inbox) = Inbox::new();
    // Different numbers, so that no call panics in two places.
    let panics = [(250, PanicIn::Call), (270, PanicIn::Poll), (290, PanicIn::Drop)]
        .map(|(every, place)| PanicLayer::every(every, place));
    let ledger = run.clone();
    let stack = move || {
        let (ledger, told) = (ledger.clone(), told.clone());
        let [in_call, in_poll, in_drop] = panics.clone();
        ServiceBuilder::new().layer(in_call).layer(in_poll).layer(in_drop).service(handler(
            move |message: Message| {
                let (ledger, told) = (ledger.clone(), told.clone());
                async move {
                    ledger.record(Entry::new(Ev::Finished, number(&message)));
                    told.tell(message);
                }
            },
        ))
    };
    let redelay = Redelay::exponential(Duration::from_millis(5), Duration::from_millis(50));
    let handle = stage.spawn(Worker::new("w", stage.subscription(&topic), stack).redelay(redelay));
    let receipts = stage.publisher(&topic).send_all((0..messages).map(|n| Message::new(n.to_string()))).await;
    for (id, receipt) in receipts.into_iter().enumerate() {
        receipt.unwrap();
        run.record(Entry::new(Ev::Produced, id as u64));
    }
    inbox.take(messages).await;
    until("everything is acknowledged", || handle.status().counts.acked == messages as u64).await;
    until("nothing runs", || handle.status().in_flight == 0).await;
    let status = handle.status();
    assert_eq!((status.state, status.restarts), (WorkerState::Running, 0));
    assert_eq!((status.waiting, status.parked), (0, 0));
    let panicked = status.counts.panicked as usize;
    assert!(panicked >= messages / 100, "{panicked} panics");
    let graph = stage.end().await;

    let expect = Expect::new()
        .sends(messages)
        .process_spans(messages + panicked)
        .links(messages + panicked)
        .components(messages);
    graph.check(&expect).unwrap();
    let errors = graph.spans().iter().filter(|span| span.kind == Kind::Consumer).filter_map(error_type);
    let errors: Vec<_> = errors.collect();
    assert_eq!(errors.len(), panicked);
    assert!(errors.iter().all(|error| error == "panic"), "{errors:?}");
    run.conclude();
}
