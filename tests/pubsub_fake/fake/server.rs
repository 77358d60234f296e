//! The methods of the two services by their paths.

use super::{Shared, TICK, lock, state::Call, stream};
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::{
    AcknowledgeRequest, PublishRequest, PublishResponse,
};
use serde_json::{Value, json};
use std::{convert::Infallible, future::Future, time::Instant};
use tonic::{
    Code, Request, Response, Status,
    body::Body,
    codegen::http,
    server::Grpc,
    transport::{Server, server::TcpIncoming},
};
use tonic_prost::ProstCodec;
use tower::service_fn;

/// The subscription.
const SUBSCRIPTION: &str = "projects/p/subscriptions/s";
/// The topic that the subscription is of.
pub(crate) const TOPIC: &str = "projects/p/topics/t";
/// What a publish may take: 10 MB and what goes around it.
const LARGEST: usize = 11 << 20;

/// Serves until it is dropped.
pub(super) async fn serve(shared: Shared, incoming: TcpIncoming) {
    let service = service_fn(move |request| answer(shared.clone(), request));
    Server::builder().accept_http1(true).serve_with_incoming(service, incoming).await.unwrap();
}

async fn answer(shared: Shared, request: http::Request<Body>) -> Result<http::Response<Body>, Infallible> {
    let call = seen(&request);
    let method = call.method.clone();
    lock(&shared).calls.push(call.clone());
    thaw(&shared).await;
    let token = lock(&shared).script.token;
    if token.is_some_and(|token| call.authorization.as_deref() != Some(token)) {
        let status = Status::unauthenticated("the token has expired");
        let is_rest = request.version() < http::Version::HTTP_2;
        return Ok(if is_rest { rest(Err(status)) } else { status.into_http() });
    }
    let answer = match method.as_str() {
        "StreamingPull" => {
            let pull = service_fn(move |request| stream::pull(shared.clone(), request));
            Grpc::new(ProstCodec::default()).streaming(pull, request).await
        }
        "Acknowledge" => unary(request, move |asked| acknowledge(shared.clone(), asked)).await,
        "ModifyAckDeadline" => {
            unary(request, move |asked| {
                let answer = lock(&shared).modify(asked);
                async { answer }
            })
            .await
        }
        "Publish" => unary(request, move |asked| publish(shared.clone(), asked)).await,
        "GetSubscription" => rest(look(&shared)),
        "GetTopic" => rest(Ok(json!({ "name": TOPIC }))),
        _ => Status::unimplemented(method).into_http(),
    };
    Ok(answer)
}

/// The method that a path is of: the last part of a path of gRPC.
fn method(path: &str) -> &str {
    match path.strip_prefix("/v1/") {
        Some(name) if name.contains("/topics/") => "GetTopic",
        Some(_) => "GetSubscription",
        None => path.rsplit('/').next().unwrap_or_default(),
    }
}

fn seen(request: &http::Request<Body>) -> Call {
    let metadata = |name| {
        let value: Option<&http::HeaderValue> = request.headers().get(name);
        value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    Call {
        at: Instant::now(),
        method: method(request.uri().path()).to_owned(),
        traceparent: metadata("traceparent"),
        authorization: metadata("authorization"),
    }
}

/// What the subscription is like.
fn look(shared: &Shared) -> Result<Value, Status> {
    let script = &lock(shared).script;
    match &script.refusal {
        Some(refusal) => Err(refusal.clone()),
        None => Ok(json!({
            "name": SUBSCRIPTION,
            "topic": TOPIC,
            "ackDeadlineSeconds": 10,
            "enableExactlyOnceDelivery": script.exactly_once,
        })),
    }
}

/// An answer as JSON: what is not of the data plane is asked over HTTP 1.
fn rest(answer: Result<Value, Status>) -> http::Response<Body> {
    let (status, body) = match answer {
        Ok(answer) => (http::StatusCode::OK, answer),
        Err(status) => {
            let of = match status.code() {
                Code::NotFound => (http::StatusCode::NOT_FOUND, "NOT_FOUND"),
                Code::Unauthenticated => (http::StatusCode::UNAUTHORIZED, "UNAUTHENTICATED"),
                Code::PermissionDenied => (http::StatusCode::FORBIDDEN, "PERMISSION_DENIED"),
                _ => (http::StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE"),
            };
            (of.0, json!({ "error": { "code": of.0.as_u16(), "message": status.message(), "status": of.1 } }))
        }
    };
    let body = Body::new(body.to_string());
    let response = http::Response::builder().status(status).header("content-type", "application/json");
    response.body(body).unwrap()
}

async fn acknowledge(shared: Shared, asked: AcknowledgeRequest) -> Result<(), Status> {
    while lock(&shared).script.holds_acks {
        tokio::time::sleep(TICK).await;
    }
    lock(&shared).acknowledge(asked)
}

async fn publish(shared: Shared, asked: PublishRequest) -> Result<PublishResponse, Status> {
    loop {
        let answer = lock(&shared).take(asked.clone());
        match answer {
            Some(answer) => return answer,
            None => tokio::time::sleep(TICK).await,
        }
    }
}

/// Waits as long as the server answers nothing.
async fn thaw(shared: &Shared) {
    while lock(shared).script.frozen {
        tokio::time::sleep(TICK).await;
    }
}

async fn unary<Asked, Answer, F>(
    request: http::Request<Body>,
    method: impl Fn(Asked) -> F + Send + Sync,
) -> http::Response<Body>
where
    Asked: prost::Message + Default + 'static,
    Answer: prost::Message + Default + 'static,
    F: Future<Output = Result<Answer, Status>> + Send + 'static,
{
    let method = service_fn(|request: Request<Asked>| {
        let answer = method(request.into_inner());
        async { answer.await.map(Response::new) }
    });
    Grpc::new(ProstCodec::<Answer, Asked>::default())
        .max_decoding_message_size(LARGEST)
        .unary(method, request)
        .await
}
