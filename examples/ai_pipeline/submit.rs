//! The client of the pipeline: posts documents to the ingress.

use crate::{
    documents::Document,
    http::{self, Call, CallLayer},
};
use futures_util::{StreamExt, TryStreamExt, stream};
use opentelemetry::{
    KeyValue,
    trace::{SpanBuilder, SpanKind},
};
use std::{net::SocketAddr, time::Duration};
use throughline::{Backoff, BoxError};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, retry::RetryLayer};

/// Documents on their way to the ingress at a time.
const AT_ONCE: usize = 16;

/// Posts all of them. A document that was not accepted is posted again, so it may come twice.
///
/// # Errors
/// The ingress is not there, or refuses, for a minute.
pub(crate) async fn submit(documents: Vec<Document>, ingress: SocketAddr) -> Result<(), BoxError> {
    let client = reqwest::Client::new();
    let health = format!("http://{ingress}/healthz");
    let mut up = ServiceBuilder::new()
        .layer(RetryLayer::new(patience()))
        .service_fn(|()| async { client.get(&health).send().await?.error_for_status() });
    up.ready().await?.call(()).await?;
    let calls = CallLayer.layer(client.clone());
    let posts = documents.into_iter().map(|document| post(calls.clone(), ingress, document));
    stream::iter(posts).buffer_unordered(AT_ONCE).try_collect().await
}

/// A minute of tries.
fn patience() -> Backoff {
    Backoff::exponential(60).starting_at(Duration::from_millis(50)).at_most(Duration::from_secs(1))
}

async fn post(calls: Call<reqwest::Client>, ingress: SocketAddr, document: Document) -> Result<(), BoxError> {
    let mut url = reqwest::Url::parse(&format!("http://{ingress}/documents"))?;
    let id = document.id.clone();
    url.path_segments_mut().map_err(|()| "an address that has no path")?.push(&id);
    let mut posting =
        ServiceBuilder::new().layer(RetryLayer::new(patience())).service_fn(move |document: Document| {
            let (mut calls, url) = (calls.clone(), url.clone());
            async move {
                let mut request = reqwest::Request::new(reqwest::Method::POST, url);
                *request.body_mut() = Some(document.text.into());
                calls.ready().await?.call(request).await?.error_for_status()?;
                Ok::<_, BoxError>(())
            }
        });
    let span = SpanBuilder::from_name("submit").with_kind(SpanKind::Internal);
    let posted = async { posting.ready().await?.call(document).await };
    http::spanned(span.with_attributes([KeyValue::new("document.id", id)]), posted).await
}
