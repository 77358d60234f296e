//! A topic that does not exist.

use crate::{Site, Stage, within};
use std::time::Duration;
use throughline::{Error, ErrorKind, Message, Restarts, Step, Worker, WorkerState, handler};
use throughline_test::Expect;

/// The worker tries again, gives up and says which topic; the drain names it. The publisher's error is of its kind and
/// names the topic, and its send span is an error.
pub async fn worker_and_publisher_name_the_topic<B: Site>(broker: &B) {
    let mut stage = Stage::new(broker);
    let topic = broker.fresh_name("missing");
    let restarts = Restarts {
        at_most: 1,
        first: Duration::from_millis(10),
        longest: Duration::from_millis(10),
        ..Restarts::default()
    };
    let worker = Worker::new("w", stage.subscription(&topic), || handler(|_: Message| async {}));
    let handle = stage.spawn(worker.restarts(restarts));
    let status = within("it gives up", handle.ended()).await;
    assert_eq!((status.state, status.restarts), (WorkerState::Failed, 1));
    assert!(!status.is_live() && !status.is_ready());
    let error = status.error.unwrap();
    assert!(error.contains(&topic) && error.contains("does not exist"), "{error}");
    let ended =
        within("the runtime ends by itself", stage.runtime().until(std::future::pending::<()>())).await;
    let error = ended.unwrap_err();
    assert_eq!(error.step(), Step::Workers);
    assert!(error.to_string().contains(&topic), "{error}");

    let sent = within("the answer", stage.publisher(&topic).send(Message::new("1"))).await;
    let error = sent.unwrap_err().downcast::<Error>().unwrap();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    // Its full name, where it has a longer one.
    assert!(error.resource().ends_with(&topic), "{error}");
    assert!(!error.remedy().is_empty());
    let graph = stage.end().await;
    graph.check(&Expect::new().spans(1).sends(1)).unwrap();
    assert_eq!(graph.spans()[0].text("error.type").as_deref(), Some("not_found"));
}
