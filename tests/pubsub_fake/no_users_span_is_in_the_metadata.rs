//! The client writes the context of whoever polls it into its calls' metadata: none of them must be a user's.

use crate::{fake::Script, site::Own};
use opentelemetry::{
    Context,
    trace::{FutureExt as _, SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState},
};
use throughline::{BoxError, Message, Publisher, State, Worker, handler_with};
use throughline_tests::{Inbox, Stage, Told, until};
use tonic::Status;

/// Workers and publishers are set up and used inside a span, streams are opened again while handlers run: no call has a
/// context in its metadata, and the messages have theirs in their attributes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_carries_a_users_context() {
    let span =
        SpanContext::new(TraceId::from(7), SpanId::from(7), TraceFlags::SAMPLED, true, TraceState::default());
    let user = Context::new().with_remote_span_context(span);
    async {
        let broker = Own::start(Script::default()).await;
        let mut stage = Stage::new(&broker);
        let (told, mut inbox) = Inbox::new();
        let state = (told, stage.publisher("t"));
        let stack = move || handler_with(state.clone(), forward);
        stage.spawn(Worker::new("w", stage.subscription("t"), stack));
        stage.publisher("t").send(Message::new("3")).await.unwrap();
        inbox.take(2).await;
        broker.reset(Status::unavailable("restart"));
        inbox.take(2).await;
        until("all are done", || broker.held() == (0, 0)).await;
        stage.drain().await;
        for method in ["StreamingPull", "Publish", "Acknowledge", "GetSubscription"] {
            assert!(!broker.calls(method).is_empty(), "{method}");
        }
        let carry: Vec<_> =
            broker.all_calls().into_iter().filter(|call| call.traceparent.is_some()).collect();
        assert!(carry.is_empty(), "{carry:?}");
        assert!(broker.published().iter().all(|message| message.attributes.contains_key("traceparent")));
    }
    .with_context(user)
    .await;
}

/// Sends a message with the number below, down to zero.
async fn forward(
    message: Message,
    State((told, publisher)): State<(Told, Publisher)>,
) -> Result<(), BoxError> {
    let number: u64 = crate::text(&message).parse()?;
    if let Some(next) = number.checked_sub(1) {
        publisher.send(Message::new(next.to_string())).await?;
    }
    told.tell(message);
    Ok(())
}
