//! Retries inside one delivery.

use crate::{
    Inbox, Site, Stage,
    steps::{error_type, named, note, pass_on},
};
use std::time::Duration;
use throughline::{Backoff, Message, Redelay, RetryLayer, Worker, handler_with};
use throughline_test::{Expect, fault::FailLayer};
use tower::ServiceBuilder;

const SOON: Duration = Duration::from_millis(1);

/// Two tries fail, the third publishes: it is an attempt span, linked to the second, and the send is below it. Nothing
/// is an error, since nothing surfaced.
pub async fn each_try_is_linked_to_the_one_before<B: Site>(broker: &B) {
    let mut stage = Stage::new(broker);
    let (first, second) = (stage.topic(1).await, stage.topic(1).await);
    let (onward, fail) = (stage.publisher(&second), FailLayer::first(2));
    let (told, mut inbox) = Inbox::new();
    stage.spawn(Worker::new("first", stage.subscription(&first), move || {
        ServiceBuilder::new()
            .layer(RetryLayer::new(Backoff::exponential(3).starting_at(SOON)))
            .layer(fail.clone())
            .service(handler_with(onward.clone(), pass_on))
    }));
    stage.spawn(Worker::new("second", stage.subscription(&second), move || handler_with(told.clone(), note)));
    stage.publisher(&first).send(Message::new("1")).await.unwrap();
    inbox.next().await;
    let graph = stage.end().await;

    let expect =
        Expect::new().spans(6).sends(2).process_spans(2).attempts(2).links(4).traces(3).components(1);
    graph.check(&expect).unwrap();
    let (tries, process) =
        (named(&graph, &format!("attempt {first}")), named(&graph, &format!("{} {first}", B::PROCESS)));
    let [second_try, third_try] = tries[..] else { panic!("{tries:?}") };
    assert_eq!(second_try.links[0].to, process[0].id);
    assert_eq!(third_try.links[0].to, second_try.id);
    assert_eq!(named(&graph, &format!("send {second}"))[0].parent, Some(third_try.id));
    assert!(graph.spans().iter().all(|span| span.status.is_unset()), "{:?}", graph.spans());
    assert_eq!(second_try.text("throughline.attempt.error").as_deref(), Some("_OTHER"));
    assert_eq!(third_try.text("throughline.attempt.error"), None);
}

/// All three tries of the first delivery fail: only its last try and its process span are errors. The second delivery
/// succeeds at once.
pub async fn only_the_failure_that_surfaces_is_an_error<B: Site>(broker: &B) {
    let mut stage = Stage::new(broker);
    let topic = stage.topic(1).await;
    let (fail, (told, mut inbox)) = (FailLayer::first(3), Inbox::new());
    let stack = move || {
        ServiceBuilder::new()
            .layer(RetryLayer::new(Backoff::exponential(2).starting_at(SOON)))
            .layer(fail.clone())
            .service(handler_with(told.clone(), note))
    };
    let redelay = Redelay::exponential(Duration::from_millis(10), Duration::from_millis(10));
    stage.spawn(Worker::new("w", stage.subscription(&topic), stack).redelay(redelay));
    stage.publisher(&topic).send(Message::new("1")).await.unwrap();
    inbox.next().await;
    let graph = stage.end().await;

    let expect =
        Expect::new().spans(5).sends(1).process_spans(2).attempts(2).links(4).traces(3).components(1);
    graph.check(&expect).unwrap();
    let errors = |name: &str| -> Vec<_> { named(&graph, name).into_iter().map(error_type).collect() };
    assert_eq!(errors(&format!("attempt {topic}")), [None, Some("_OTHER".to_owned())]);
    assert_eq!(errors(&format!("{} {topic}", B::PROCESS)), [Some("_OTHER".to_owned()), None]);
}
