//! The embedding service, and the client that a worker calls it with.

use crate::{
    http::{self, CallLayer},
    model::Model,
};
use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    middleware,
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use throughline::BoxError;
use tokio::sync::Semaphore;
use tower::{ServiceBuilder, ServiceExt, util::BoxCloneSyncService};

/// Texts that are embedded at a time. What comes beyond that is refused instead of queued, so callers try again.
const AT_ONCE: usize = 2;

/// What the service makes of a text.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Embedded {
    pub(crate) vector: Vec<f32>,
    /// The nearest class, and how near it is: 1 is the same direction.
    pub(crate) nearest: Option<(String, f32)>,
}

#[derive(Clone)]
struct Desk {
    model: Arc<Model>,
    places: Arc<Semaphore>,
}

/// `POST /embeddings`, a text in the body.
pub(crate) fn router() -> Result<Router, BoxError> {
    let model = Arc::new(Model::train(include_str!("training.tsv"))?);
    Ok(Router::new()
        .route("/embeddings", post(embed))
        .route_layer(middleware::from_fn(http::serve))
        .route("/healthz", get(|| async {}))
        .with_state(Desk { model, places: Arc::new(Semaphore::new(AT_ONCE)) }))
}

async fn embed(State(desk): State<Desk>, text: String) -> Result<Json<Embedded>, StatusCode> {
    let Ok(_place) = desk.places.try_acquire() else { return Err(StatusCode::SERVICE_UNAVAILABLE) };
    let embedded = tokio::task::spawn_blocking(move || {
        let vector = desk.model.embed(&text);
        let nearest = desk.model.nearest(&vector).map(|(class, near)| (class.to_owned(), near));
        Embedded { vector, nearest }
    });
    embedded.await.map(Json).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

/// Calls the service: a span a call around a rate limit, a time-out and the client, all of them Tower layers.
#[derive(Clone)]
pub(crate) struct Client {
    url: String,
    calls: BoxCloneSyncService<reqwest::Request, reqwest::Response, BoxError>,
}

impl Client {
    pub(crate) fn new(service: SocketAddr) -> Self {
        let calls = ServiceBuilder::new()
            .layer(CallLayer)
            .buffer(256)
            .rate_limit(500, Duration::from_secs(1))
            .timeout(Duration::from_secs(2))
            .service(reqwest::Client::new());
        Client { url: format!("http://{service}/embeddings"), calls: BoxCloneSyncService::new(calls) }
    }

    /// # Errors
    /// The service is not there, too slow, or busy: all of it is worth another try.
    pub(crate) async fn embed(&self, text: String) -> Result<Embedded, BoxError> {
        let mut request = reqwest::Request::new(reqwest::Method::POST, self.url.parse()?);
        *request.body_mut() = Some(text.into());
        let response = self.calls.clone().oneshot(request).await?;
        Ok(response.error_for_status()?.json().await?)
    }
}
