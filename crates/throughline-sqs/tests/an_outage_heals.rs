//! FC-24 and FC-30: a receive that is never answered, and credentials that have expired.

#![allow(clippy::unwrap_used, reason = "a test says that it failed by a panic")]

mod common;

use aws_credential_types::provider::{ProvideCredentials, future};
use common::{Call, Fake, Say, messages, subscribe, until};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};
use throughline_core::{Settlement, Settler, Source};
use tokio::runtime::Handle;

/// FC-24: the try ends with a client time-out of its own soon after its wait, is made again with a delay, and that is told;
/// when the server answers again messages flow. On a FIFO queue the try after it asks for the same again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receive_that_is_never_answered_is_made_again() {
    let silent = Arc::new(AtomicBool::new(true));
    let mute = silent.clone();
    let fake = Fake::start(move |call: &Call| match call.action.as_str() {
        "ReceiveMessage" if mute.load(SeqCst) => Some(Say::Nothing),
        "ReceiveMessage" => Some(messages(&["a"])),
        _ => None,
    })
    .await;
    let queue = format!("{}.fifo", fake.url());
    let subscription = fake.sqs.subscribe(queue).wait(Duration::from_secs(1));
    let (mut source, control, heard) = subscribe(&subscription, 1).await;
    let since = Instant::now();
    let receiving = Handle::current().spawn(async move { (source.receive().await, source) });
    until("a second try", || fake.calls("ReceiveMessage").len() >= 2).await;
    assert!(since.elapsed() < Duration::from_secs(1 + 10), "{:?}", since.elapsed());
    assert!(heard.outages.lock().unwrap()[0].contains("no answer in time"));
    silent.store(false, SeqCst);
    let healed = Instant::now();
    let (received, mut source) = receiving.await.unwrap();
    assert!(healed.elapsed() < Duration::from_secs(15));
    assert_eq!(heard.reconnected.load(SeqCst), 1);
    let attempts: Vec<_> = fake
        .calls("ReceiveMessage")
        .iter()
        .map(|call| call.body["ReceiveRequestAttemptId"].clone())
        .collect();
    assert!(
        attempts[0].is_string() && attempts.iter().all(|attempt| *attempt == attempts[0]),
        "{attempts:?}"
    );
    for delivery in received.unwrap() {
        delivery.settler.settle(Settlement::Ack).await.unwrap();
    }
    control.stop();
    assert!(source.receive().await.unwrap().is_empty());
    source.close(Instant::now() + Duration::from_secs(5)).await.unwrap();
}

/// A drain is not held up by it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_does_not_wait_for_a_silent_server() {
    let fake = Fake::start(|call: &Call| (call.action == "ReceiveMessage").then_some(Say::Nothing)).await;
    let (mut source, control, _) = subscribe(&fake.sqs.subscribe(fake.url()), 1).await;
    let receiving = Handle::current().spawn(async move { (source.receive().await, source) });
    until("a poll is open", || !fake.calls("ReceiveMessage").is_empty()).await;
    control.stop();
    let (received, source) = receiving.await.unwrap();
    assert!(received.unwrap().is_empty());
    let since = Instant::now();
    source.close(Instant::now() + Duration::from_secs(3)).await.unwrap();
    assert!(since.elapsed() <= Duration::from_secs(3));
}

/// FC-30: no more than one call a second, the outage names the credentials, and it heals alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_credentials_are_named_and_asked_for_again() {
    let expired = Arc::new(AtomicBool::new(true));
    let (refuse, asked) = (expired.clone(), Arc::new(AtomicUsize::new(0)));
    let fake = Fake::start(move |call: &Call| match call.action.as_str() {
        "ReceiveMessage" if refuse.load(SeqCst) => Some(Say::Error(403, "ExpiredToken")),
        "ReceiveMessage" => Some(messages(&["a"])),
        _ => None,
    })
    .await;
    let config = aws_sdk_sqs::Config::builder()
        .behavior_version(aws_sdk_sqs::config::BehaviorVersion::latest())
        .region(aws_sdk_sqs::config::Region::from_static("local"))
        .endpoint_url(&fake.endpoint)
        .credentials_provider(Provider(asked.clone()));
    let sqs = throughline_sqs::Sqs::from_client(aws_sdk_sqs::Client::from_conf(config.build()));
    let (mut source, _control, heard) = subscribe(&sqs.subscribe(fake.url()), 1).await;
    let receiving = Handle::current().spawn(async move { source.receive().await });
    until("three tries", || fake.calls("ReceiveMessage").len() >= 3).await;
    let calls = fake.calls("ReceiveMessage");
    assert!(calls.windows(2).all(|pair| pair[1].at.duration_since(pair[0].at) >= Duration::from_secs(1)));
    assert!(heard.outages.lock().unwrap().iter().all(|told| told.contains("credentials")));
    assert!(asked.load(SeqCst) >= 3, "the provider is asked again at each refusal");
    expired.store(false, SeqCst);
    let since = Instant::now();
    assert_eq!(receiving.await.unwrap().unwrap().len(), 1);
    assert!(since.elapsed() < Duration::from_secs(15));
}

/// Counts how often it is asked.
#[derive(Debug)]
struct Provider(Arc<AtomicUsize>);

impl ProvideCredentials for Provider {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        self.0.fetch_add(1, SeqCst);
        let credentials = aws_sdk_sqs::config::Credentials::new("a", "b", None, None, "test");
        future::ProvideCredentials::ready(Ok(credentials))
    }
}
