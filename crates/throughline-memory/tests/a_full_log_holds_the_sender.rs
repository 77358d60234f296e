//! Back-pressure, and the faults that a test can inject.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test may panic and has tasks of its own"
)]

mod common;

use common::*;
use futures_util::{future::FutureExt, future::poll_fn};
use std::panic::AssertUnwindSafe;
use throughline_core::{Capacity, Demand, Endpoint, Error, ErrorKind, Message, Source, Subscription};
use throughline_memory::{At, Fault, Memory};
use tower_service::Service;

fn small() -> Memory {
    let broker = Memory::new().capacity(2);
    broker.create_topic("t", 1).unwrap();
    broker
}

#[tokio::test]
async fn a_send_to_a_full_partition_waits_for_room_and_keeps_its_place() {
    let broker = small();
    let mut member = Member::join(&broker.subscribe("t").group("g"));
    let mut sink = broker.topic("t");
    let mut ready = sink.clone();
    poll_fn(|cx| ready.poll_ready(cx)).await.unwrap();
    send_keyed(&broker, ["k", "k"]);
    let mut third = sink.call(keyed("third"));
    let mut fourth = sink.call(keyed("fourth"));
    assert!((&mut fourth).now_or_never().is_none() && (&mut third).now_or_never().is_none());
    assert!(poll_fn(|cx| ready.poll_ready(cx)).now_or_never().is_none(), "full: the caller waits");
    assert!(sink.flush().now_or_never().is_none());
    let waits = tokio::spawn(async move {
        let receipt = fourth.await;
        poll_fn(|cx| ready.poll_ready(cx)).await.unwrap();
        receipt
    });
    tokio::task::yield_now().await;
    member.now().into_iter().for_each(ack);
    assert_eq!(soon(third).await.unwrap().offset, Some(2));
    assert_eq!(soon(waits).await.unwrap().unwrap().offset, Some(3));
    soon(sink.flush()).await.unwrap();
    let batch = member.next().await;
    assert_eq!(
        batch.iter().map(|d| &d.message.payload()[..]).collect::<Vec<_>>(),
        [&b"third"[..], b"fourth"]
    );
}

#[tokio::test]
async fn a_send_given_up_while_it_waits_is_never_published() {
    let broker = small();
    let mut member = Member::join(&broker.subscribe("t").group("g"));
    send_keyed(&broker, ["k", "k"]);
    let mut sink = broker.topic("t");
    drop(sink.call(keyed("given up")));
    poll_fn(|cx| sink.poll_ready(cx)).now_or_never().expect("nobody waits any more").unwrap();
    member.now().into_iter().for_each(ack);
    assert!(member.now().is_empty());
    assert_eq!(broker.end("t", 0), 2);
}

#[tokio::test]
async fn a_topic_that_nobody_reads_fills_up_and_loses_nothing() {
    let broker = small();
    send_keyed(&broker, ["k", "k"]);
    let third = broker.topic("t").call(keyed("third"));
    let mut member = Member::join(&broker.subscribe("t").group("g"));
    member.now().into_iter().for_each(ack);
    soon(third).await.unwrap();
    assert_eq!(offsets(&member.now()), [2]);
}

#[tokio::test]
async fn a_partition_that_the_topic_does_not_have_is_a_typed_error() {
    let broker = small();
    for partition in [-1, 1] {
        let error = broker.topic("t").call(Message::new("x").with_partition(partition)).await.unwrap_err();
        assert_eq!((error.kind(), error.resource()), (ErrorKind::NotFound, &*format!("t/{partition}")));
    }
}

#[tokio::test]
async fn held_sends_are_published_in_order_once_released() {
    let broker = small();
    broker.fail(At::Send, Fault::hold().times(2).topic("t"));
    let mut sink = broker.topic("t");
    let (first, second, third) = (sink.call(keyed("a")), sink.call(keyed("b")), sink.call(keyed("c")));
    assert_eq!(soon(third).await.unwrap().offset, Some(0), "only two are held");
    assert!(sink.flush().now_or_never().is_none());
    drop(first);
    broker.release();
    assert_eq!(soon(second).await.unwrap().offset, Some(1));
    assert_eq!(broker.end("t", 0), 2, "the one given up is not there");
}

#[tokio::test]
async fn calls_fail_or_panic_as_often_as_asked_and_then_work() {
    let broker = small();
    broker.create_topic("other", 1).unwrap();
    let down = || Error::new(ErrorKind::Unreachable, "memory", "wait");
    broker.fail(At::Send, Fault::error(down()).times(2).topic("t"));
    broker.topic("other").call(Message::new("x")).await.unwrap();
    for _ in 0..2 {
        assert_eq!(broker.topic("t").call(keyed("k")).await.unwrap_err().kind(), ErrorKind::Unreachable);
    }
    send(&broker, keyed("k"));

    broker.fail(At::Subscribe, Fault::error(down()));
    let subscription = broker.subscribe("t").group("g");
    let (_control, demand) = Demand::new(Capacity { messages: 8, bytes: 1000 });
    let subscribe = || subscription.subscribe(demand.clone(), std::sync::Arc::new(()));
    assert_eq!(subscribe().await.unwrap_err().kind(), ErrorKind::Unreachable);
    let mut source = subscribe().await.unwrap();
    let held = source.receive().await.unwrap();
    assert_eq!(held.len(), 1);

    // A source that waits already is struck as well.
    let waits = tokio::spawn(async move {
        let error = source.receive().await.unwrap_err();
        let panicked = AssertUnwindSafe(source.receive()).catch_unwind().await.is_err();
        drop(held);
        (error.kind(), panicked, source.receive().await.unwrap().len())
    });
    tokio::task::yield_now().await;
    broker.fail(At::Receive, Fault::error(down()));
    broker.fail(At::Receive, Fault::panic());
    assert_eq!(soon(waits).await.unwrap(), (ErrorKind::Unreachable, true, 1));
}
