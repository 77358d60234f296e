//! Consuming, through the wire.

#![cfg(feature = "broker-tests")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says that it failed by a panic")]

mod common;

use common::{BOUND, Kind, Place, Side, body, count, until};
use google_cloud_pubsub::model::Message as Native;
use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};
use throughline_core::{ErrorKind, Settlement};
use throughline_pubsub::PubSub;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_comes_as_it_was_sent_and_is_gone_when_it_is_done() {
    let place = Place::new(Kind::default()).await;
    let message =
        Native::new().set_data("body").set_ordering_key("k").set_attributes([("b", "2"), ("a", "1")]);
    place.publish([message]).await;
    let mut side = Side::open(place.source(), 4).await;
    let delivery = side.next().await;
    let message = &delivery.message;
    let origin = message.origin().unwrap();
    let destination = &origin.destination;
    assert_eq!((body(&delivery).as_str(), message.key().map(|key| &key[..])), ("body", Some(&b"k"[..])));
    let names: Vec<_> =
        message.headers().iter().map(|header| (&*header.name, header.value.as_deref())).collect();
    assert_eq!(names, [("a", Some(&b"1"[..])), ("b", Some(&b"2"[..]))]);
    assert_eq!((&*destination.name, destination.subscription.as_deref()), (&*place.name, Some(&*place.name)));
    assert!(origin.time.is_some() && origin.id.is_some() && origin.delivery_count == 1, "{origin:?}");
    side.ack(delivery).await;
    until("it is reported", || side.seen.count("ack 1") == 1).await;
    side.leave(BOUND).await.unwrap();

    let mut side = Side::open(place.source(), 4).await;
    assert!(side.within(2 * SECOND).await.is_none(), "it came again though it was done");
    side.leave(BOUND).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nack_waits_for_its_delay_and_is_counted_with_and_without_a_policy() {
    for deliveries in [None, Some(5)] {
        let place = Place::new(Kind { deliveries, ..Kind::default() }).await;
        place.publish_bodies([1]).await;
        let mut side = Side::open(place.source(), 1).await;
        for n in 1..4 {
            let delivery = side.next().await;
            assert_eq!(count(&delivery), n, "with {deliveries:?}");
            let since = Instant::now();
            side.settle(delivery, Settlement::retry_after(SECOND)).await.unwrap();
            assert!(since.elapsed() < SECOND, "the permit is free meanwhile");
            let again = side.next().await;
            assert!(since.elapsed() >= SECOND, "came after {:?}", since.elapsed());
            // As a nack without a delay does.
            side.settle(again, Settlement::Nack { after: None }).await.unwrap();
            if n == 1 {
                let again = side.next().await;
                assert_eq!(count(&again), 3, "with {deliveries:?}");
                side.ack(again).await;
                break;
            }
        }
        side.leave(BOUND).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_handled_one_at_a_time_and_in_order_also_after_a_nack() {
    let place = Place::new(Kind { ordered: true, ..Kind::default() }).await;
    let (keys, each) = (8, 25);
    let message =
        |n: usize| Native::new().set_data((n / keys).to_string()).set_ordering_key((n % keys).to_string());
    place.publish((0..keys * each).map(message)).await;
    let mut side = Side::open(place.source(), 32).await;
    let (mut next, mut open, mut nacked) = (HashMap::new(), HashSet::new(), HashSet::new());
    let mut held = Vec::new();
    let mut done = 0;
    while done < keys * each {
        match side.within(SECOND / 20).await {
            Some(delivery) => {
                let key = delivery.message.key().unwrap().clone();
                assert!(open.insert(key), "two of a key at a time");
                held.push(delivery);
            }
            None => assert!(!held.is_empty() || side.within(BOUND).await.map(|d| held.push(d)).is_some()),
        }
        // Any of those that are held, so that they end in another order than they came.
        if held.len() > 4 || fastrand::bool() {
            let Some(at) = held.len().checked_sub(1).map(|last| fastrand::usize(..=last)) else { continue };
            let delivery = held.swap_remove(at);
            let key = delivery.message.key().unwrap().clone();
            let n: usize = body(&delivery).parse().unwrap();
            let expected = next.entry(key.clone()).or_insert(0);
            assert_eq!(n, *expected, "key {key:?} is out of its order");
            open.remove(&key);
            if n % 5 == 2 && nacked.insert((key, n)) {
                let after = fastrand::bool().then_some(SECOND / 5);
                side.settle(delivery, Settlement::Nack { after }).await.unwrap();
            } else {
                *expected += 1;
                done += 1;
                side.ack(delivery).await;
            }
        }
    }
    side.leave(BOUND).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_handler_keeps_its_lease_and_what_waits_with_it() {
    let place = Place::new(Kind::default()).await;
    place.publish_bodies(0..4).await;
    let mut side = Side::open(place.source(), 2).await;
    let (first, second) = (side.next().await, side.next().await);
    tokio::time::sleep(25 * SECOND).await;
    assert!(!first.lease.is_lost());
    side.ack(first).await;
    side.ack(second).await;
    let mut rest = [body(&side.next().await), body(&side.next().await)];
    rest.sort();
    assert!(side.within(2 * SECOND).await.is_none(), "nothing came twice");
    side.leave(BOUND).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_is_over_is_told_and_its_message_comes_again() {
    let place = Place::new(Kind::default()).await;
    place.publish_bodies([1]).await;
    let source = place.source().longest_lease(10 * SECOND);
    let mut side = Side::open(source, 2).await;
    let delivery = side.next().await;
    tokio::time::timeout(BOUND, delivery.lease.lost()).await.expect("the handler is told");
    until("it is reported", || side.seen.count("lost 1") == 1).await;
    let error = side.settle(delivery, Settlement::Ack).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LeaseLost);
    let again = side.next().await;
    side.ack(again).await;
    side.leave(BOUND).await.unwrap();
}

/// That it is given back is shown on the fake: the emulator hands it out into the stream that was closed, and so again at
/// each end of its lease.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leaked_settler_holds_up_no_end() {
    let place = Place::new(Kind::default()).await;
    place.publish_bodies(0..2).await;
    let mut side = Side::open(place.source(), 2).await;
    let (leaked, done) = (side.next().await, side.next().await);
    std::mem::forget(leaked.settler);
    side.ack(done).await;
    let since = Instant::now();
    side.leave(BOUND).await.unwrap();
    assert!(since.elapsed() < 5 * SECOND, "{:?}", since.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_is_named() {
    let place = Place::new(Kind::default()).await;
    let error = Side::try_open(place.pubsub.subscribe("nobody-made-it"), 1).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
    assert_eq!(error.resource(), "projects/throughline/subscriptions/nobody-made-it");
    let nowhere = PubSub::emulator("127.0.0.1:1", "p").subscribe("s");
    let error = Side::try_open(nowhere, 1).await.err().unwrap();
    assert_eq!((error.kind(), error.resource()), (ErrorKind::Unreachable, "projects/p/subscriptions/s"));
    assert!(error.remedy().contains("PUBSUB_EMULATOR_HOST"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_that_is_made_anew_is_found() {
    let place = Place::new(Kind::default()).await;
    let mut side = Side::open(place.source(), 8).await;
    place.publish_bodies([0]).await;
    let first = side.next().await;
    side.ack(first).await;
    place.unsubscribe().await;
    until("the loss is told", || side.seen.count("away not_found") > 0).await;
    let away = side.seen.all().into_iter().find(|text| text.starts_with("away")).unwrap();
    assert!(away.contains(&place.subscription()) && away.contains("NOT_FOUND"), "{away}");
    tokio::time::sleep(10 * SECOND).await;
    let tries = side.seen.count("away");
    assert!((1..=7).contains(&tries), "{tries} tries in 10 s");

    place.subscribe(Kind::default()).await;
    place.publish_bodies(1..6).await;
    let since = Instant::now();
    for _ in 0..5 {
        let delivery = side.within(30 * SECOND).await.expect("it heals");
        side.ack(delivery).await;
    }
    assert!(since.elapsed() < 30 * SECOND, "{:?}", since.elapsed());
    until("it is said to be back", || side.seen.count("back") == 1).await;
    side.leave(BOUND).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_by_a_pause() {
    let place = Place::new(Kind::default()).await;
    place.publish_bodies(0..20).await;
    let mut side = Side::open(place.source(), 4).await;
    let held = side.next().await;
    side.control.pause();
    let mut done = HashSet::from([body(&held)]);
    side.ack(held).await;
    while let Some(late) = side.within(SECOND).await {
        done.insert(body(&late));
        side.ack(late).await;
    }
    assert!(done.len() <= 4, "handed over though paused: {done:?}");
    place.publish_bodies([20]).await;
    side.control.resume();
    while done.len() < 21 {
        let delivery = side.next().await;
        done.insert(body(&delivery));
        side.ack(delivery).await;
    }
    side.leave(BOUND).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_streams_are_opened_where_one_is_not_enough() {
    let place = Place::new(Kind::default()).await;
    place.publish_bodies(0..20_000).await;
    let mut side = Side::open(place.source(), 256).await;
    let (since, mut done) = (Instant::now(), 0);
    while done < 20_000 {
        let delivery = side.next().await;
        side.ack(delivery).await;
        done += 1;
    }
    println!("20,000 messages in {:?}", since.elapsed());
    side.leave(BOUND).await.unwrap();
}
