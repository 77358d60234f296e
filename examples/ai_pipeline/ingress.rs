//! HTTP in front of the pipeline: a document comes in, a job goes out.

use crate::{classify, documents::LONGEST, http};
use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, State},
    http::StatusCode,
    middleware,
    routing::{get, post},
};
use throughline::Publisher;

/// `POST /documents/{id}`: accepted once the broker has the job, so that a caller who was told so need not send again.
pub(crate) fn router(jobs: Publisher) -> Router {
    Router::new()
        .route("/documents/{id}", post(accept))
        .route_layer(middleware::from_fn(http::serve))
        .route("/healthz", get(|| async {}))
        .layer(DefaultBodyLimit::max(LONGEST))
        .with_state(jobs)
}

async fn accept(State(jobs): State<Publisher>, Path(id): Path<String>, text: Bytes) -> (StatusCode, String) {
    match jobs.send(classify::job(&id, text)).await {
        Ok(_) => (StatusCode::ACCEPTED, String::new()),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    }
}
