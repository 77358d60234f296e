//! Credentials: a stream keeps the token that it was opened with, and everything else asks for one at each call.

use crate::{fake::Script, note, site::Own};
use google_cloud_auth::{
    credentials::{CacheableResource, CredentialsProvider, EntityTag},
    errors::CredentialsError,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};
use throughline::{Worker, handler_with, pubsub::PubSub};
use throughline_tests::{Inbox, Stage, until};
use tonic::{
    Status,
    codegen::http::{Extensions, HeaderMap, HeaderValue},
};

/// The token expires and the stream is ended for it; what is named is the credentials, and the provider is asked again and
/// again, but not all the time. As soon as it has a new token, messages flow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_flow_again_when_there_is_a_new_token() {
    let broker = Own::start(Script { token: Some("old"), ..Script::default() }).await;
    let renewed = Arc::new(AtomicBool::new(false));
    let provider = Provider(renewed.clone());
    let pubsub = PubSub::new("p").endpoint(broker.endpoint()).with_credentials(provider);
    let mut stage = Stage::new(&broker);
    let (told, mut inbox) = Inbox::new();
    let stack = move || handler_with(told.clone(), note);
    let handle = stage.spawn(Worker::new("w", pubsub.subscribe("s"), stack));
    broker.put([1]);
    inbox.next().await;
    until("it is acknowledged", || broker.held() == (0, 0)).await;

    broker.change(|script| script.token = Some("new"));
    broker.reset(Status::unauthenticated("the token has expired"));
    let before = broker.all_calls().len();
    until("the credentials are named", || {
        handle.status().error.is_some_and(|error| error.contains("the credentials"))
    })
    .await;
    until("it was tried again", || broker.all_calls().len() >= before + 2).await;
    let tries = broker.all_calls().split_off(before);
    assert!(tries.windows(2).all(|pair| pair[1].at - pair[0].at >= Duration::from_millis(500)), "{tries:?}");
    renewed.store(true, SeqCst);
    broker.put([2]);
    let since = Instant::now();
    inbox.next().await;
    assert!(since.elapsed() < Duration::from_secs(15), "{:?}", since.elapsed());
    until("it is acknowledged", || broker.held() == (0, 0)).await;
    stage.end().await;
}

/// Gives another token once it is told to.
#[derive(Debug)]
struct Provider(Arc<AtomicBool>);

impl CredentialsProvider for Provider {
    async fn headers(&self, _: Extensions) -> Result<CacheableResource<HeaderMap>, CredentialsError> {
        let token = HeaderValue::from_static(if self.0.load(SeqCst) { "new" } else { "old" });
        let data = [("authorization".parse().unwrap(), token)].into_iter().collect();
        Ok(CacheableResource::New { entity_tag: EntityTag::new(), data })
    }

    async fn universe_domain(&self) -> Option<String> {
        None
    }
}
