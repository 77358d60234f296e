//! Messages of Google's own clients, which name their context `googclient_traceparent`, through a worker.

use crate::site::Project;
use google_cloud_pubsub::model::Message as Raw;
use throughline::{BoxError, Message, Publisher, State, Worker, forward, handler_with, pubsub::ContextOrder};
use throughline_test::SpanRef;
use throughline_tests::{Inbox, Stage, Told};

const THEIRS: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const OTHER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Where only Google's name is there, the process span is linked to what it says, and what the handler sends leads back to
/// that span under both names, with nothing stale beside it. Where both are there the setting decides.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn their_context_is_linked_to_and_ours_is_theirs_to_read() {
    for (order, plain, linked) in [
        (ContextOrder::PlainFirst, None, THEIRS),
        (ContextOrder::PlainFirst, Some(OTHER), OTHER),
        (ContextOrder::GoogleFirst, Some(OTHER), THEIRS),
    ] {
        let broker = Project::new();
        let mut stage = Stage::new(&broker);
        let (topic, next) = (stage.topic(1).await, stage.topic(1).await);
        let attributes = [("googclient_traceparent", THEIRS), ("googclient_tracestate", "a=1"), ("own", "1")];
        let attributes = attributes.into_iter().chain(plain.map(|plain| ("traceparent", plain)));
        let raw = Raw::new().set_data("x").set_attributes(attributes);
        broker.publisher(&topic).await.publish(raw).await.unwrap();
        let (told, mut inbox) = Inbox::new();
        let state = (told, stage.publisher(&next));
        let subscription = stage.subscription(&topic).context_order(order);
        stage.spawn(Worker::new("w", subscription, move || handler_with(state.clone(), pass_on)));
        assert_eq!(inbox.next().await.headers().get("own").map(|own| &own[..]), Some(&b"1"[..]));
        let onward = broker.read(&next, 1).await.remove(0).attributes;
        let graph = stage.end().await;
        let of = |name: String| graph.spans().iter().find(|span| span.name == name).unwrap();
        let (process, send) = (of(format!("subscribe {topic}")), of(format!("send {next}")));
        assert_eq!(process.links[0].to, identity(linked), "{order:?}");
        assert_eq!(send.parent, Some(process.id));
        assert_eq!(
            [identity(&onward["traceparent"]), identity(&onward["googclient_traceparent"])],
            [send.id; 2]
        );
        assert_eq!((&*onward["own"], onward.get("googclient_tracestate")), ("1", onward.get("tracestate")));
    }
}

async fn pass_on(message: Message, State((told, onward)): State<(Told, Publisher)>) -> Result<(), BoxError> {
    onward.send(forward(&message)).await?;
    told.tell(message);
    Ok(())
}

fn identity(traceparent: &str) -> SpanRef {
    let parts: Vec<&str> = traceparent.split('-').collect();
    format!("{}-{}", parts[1], parts[2]).parse().unwrap()
}
