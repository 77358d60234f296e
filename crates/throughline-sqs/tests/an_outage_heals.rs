//! FC-24 and FC-30: a receive that is never answered, and credentials that have expired.

#![allow(clippy::unwrap_used, reason = "a test says that it failed by a panic")]

mod common;

use aws_credential_types::provider::{ProvideCredentials, future};
use common::{Call, Fake, Say, messages, subscribe, until};
use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};
use throughline_core::{Settlement, Settler, Source};
use tokio::runtime::Handle;

/// How long an outage takes.
const OUTAGE: Duration = Duration::from_secs(60);
/// How soon it works again after it.
const HEALED: Duration = Duration::from_secs(15);

/// FC-24: each try ends with a client time-out of its own soon after its wait, is made again with a delay, and that is told;
/// when the server answers again messages flow, and a refusal that comes first waits no longer for the outage before it. On a
/// FIFO queue each asks for the same again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receive_that_is_never_answered_is_made_again() {
    const WAIT: Duration = Duration::from_secs(1);
    let silent = Arc::new(AtomicBool::new(true));
    let (mute, refused) = (silent.clone(), AtomicBool::default());
    let fake = Fake::start(move |call: &Call| match call.action.as_str() {
        "ReceiveMessage" if mute.load(SeqCst) => Some(Say::Nothing),
        // As a server that was started again may, before it has read what it kept.
        "ReceiveMessage" if !refused.swap(true, SeqCst) => Some(Say::Error(400, "QueueDoesNotExist")),
        "ReceiveMessage" => Some(messages(&["a"])),
        _ => None,
    })
    .await;
    let queue = format!("{}.fifo", fake.url());
    let (mut source, control, heard) = subscribe(&fake.sqs.subscribe(queue).wait(WAIT), 1).await;
    let receiving = Handle::current().spawn(async move { (source.receive().await, source) });
    until("a poll is open", || !fake.calls("ReceiveMessage").is_empty()).await;
    tokio::time::sleep(OUTAGE).await;
    let tries = fake.calls("ReceiveMessage");
    let gaps: Vec<_> = tries.windows(2).map(|pair| pair[1].at.duration_since(pair[0].at)).collect();
    // Ten seconds for a try after its wait, and three and a bit between two tries.
    let longest = WAIT + Duration::from_secs(10 + 4);
    assert!(gaps.len() >= 4 && gaps.iter().all(|gap| *gap >= WAIT && *gap < longest), "{gaps:?}");
    let told = heard.outages.lock().unwrap().clone();
    assert!(
        told.len() >= gaps.len() && told.iter().all(|told| told.contains("no answer in time")),
        "{told:?}"
    );
    silent.store(false, SeqCst);
    let healed = Instant::now();
    let (received, mut source) = receiving.await.unwrap();
    assert!(healed.elapsed() < HEALED, "{:?}", healed.elapsed());
    assert_eq!(heard.reconnected.load(SeqCst), 1);
    let calls = fake.calls("ReceiveMessage");
    let [.., refused, taken] = &calls[..] else { panic!("two calls at least") };
    let waited = taken.at.duration_since(refused.at);
    assert!(waited < Duration::from_secs(4), "{waited:?} after a first refusal");
    let attempts: Vec<_> = calls.iter().map(|call| call.body["ReceiveRequestAttemptId"].clone()).collect();
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

/// FC-30: the provider is asked again, no more than one receive a second is made, the outage names the credentials, and it
/// heals alone. The lease of what a handler has is taken up again, or is told as lost if it ended meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_credentials_are_named_and_asked_for_again() {
    let (expired, healthy) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
    let (refuse, more, asked) = (expired.clone(), healthy.clone(), Arc::<AtomicUsize>::default());
    let first = Mutex::new(HashSet::new());
    let fake = Fake::start(move |call: &Call| {
        let queue = call.body["QueueUrl"].as_str().unwrap_or_default().to_owned();
        match call.action.as_str() {
            _ if refuse.load(SeqCst) => Some(Say::Error(403, "ExpiredToken")),
            "ReceiveMessage" if first.lock().unwrap().insert(queue) => Some(messages(&["held"])),
            "ReceiveMessage" if more.load(SeqCst) => Some(messages(&["next"])),
            _ => None,
        }
    })
    .await;
    let config = aws_sdk_sqs::Config::builder()
        .behavior_version(aws_sdk_sqs::config::BehaviorVersion::latest())
        .region(aws_sdk_sqs::config::Region::from_static("local"))
        .endpoint_url(&fake.endpoint)
        .credentials_provider(Provider(asked.clone()));
    let sqs = throughline_sqs::Sqs::from_client(aws_sdk_sqs::Client::from_conf(config.build()));
    let mut workers = Vec::new();
    // Half of the one is over after 50 s, all of the other after 20.
    for (name, visibility) in [("long", 100), ("short", 20)] {
        let queue = format!("{}-{name}", fake.url());
        let subscription = sqs.subscribe(&queue).visibility(Duration::from_secs(visibility));
        let (mut source, control, heard) = subscribe(&subscription.wait(Duration::from_secs(1)), 2).await;
        let held = source.receive().await.unwrap();
        // The source goes on until the end.
        let receiving = Handle::current().spawn(async move { (source.receive().await, source) });
        workers.push((queue, held, receiving, heard, control));
    }
    let (since, before) = (Instant::now(), asked.load(SeqCst));
    expired.store(true, SeqCst);
    tokio::time::sleep(OUTAGE).await;
    healthy.store(true, SeqCst);
    expired.store(false, SeqCst);
    let healed = Instant::now();
    assert!(asked.load(SeqCst) > before + 2, "the provider is asked again at each refusal");
    let [long, short] = <[_; 2]>::try_from(workers).unwrap_or_else(|_| panic!("two"));
    for (queue, _, _, heard, _) in [&long, &short] {
        let polls: Vec<_> = fake.calls("ReceiveMessage").into_iter().filter(|call| call.at > since).collect();
        let polls: Vec<_> = polls.iter().filter(|call| call.body["QueueUrl"] == **queue).collect();
        let is_slow = |pair: &[&Call]| pair[1].at.duration_since(pair[0].at) >= Duration::from_secs(1);
        assert!(polls.len() > 5 && polls.windows(2).all(is_slow), "{} polls", polls.len());
        assert!(heard.outages.lock().unwrap().iter().all(|told| told.contains("credentials")));
    }
    assert!(short.1[0].lease.is_lost() && short.3.lost.load(SeqCst) == 1, "told");
    let is_kept = || {
        let calls = fake.calls("ChangeMessageVisibilityBatch");
        calls.iter().any(|call| call.at > healed && call.body["QueueUrl"] == *long.0)
    };
    until("the lease is taken up again", is_kept).await;
    assert!(healed.elapsed() < HEALED && !long.1[0].lease.is_lost() && long.3.lost.load(SeqCst) == 0);
    for (_, _, receiving, _, _) in [long, short] {
        assert_eq!(receiving.await.unwrap().0.unwrap().len(), 1);
    }
    assert!(healed.elapsed() < HEALED, "{:?}", healed.elapsed());
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
