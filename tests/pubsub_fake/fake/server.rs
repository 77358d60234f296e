//! The methods of the two services by their paths.

use super::{Shared, TICK, lock, state::Call, stream};
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::{
    GetSubscriptionRequest, GetTopicRequest, PublishRequest, PublishResponse, Subscription, Topic,
};
use std::{convert::Infallible, future::Future, time::Instant};
use tonic::{
    Request, Response, Status,
    body::Body,
    codegen::http,
    server::Grpc,
    transport::{Server, server::TcpIncoming},
};
use tonic_prost::ProstCodec;
use tower::service_fn;

/// What a publish may take: 10 MB and what goes around it.
const LARGEST: usize = 11 << 20;

/// Serves until it is dropped.
pub(super) async fn serve(shared: Shared, incoming: TcpIncoming) {
    let service = service_fn(move |request| answer(shared.clone(), request));
    Server::builder().serve_with_incoming(service, incoming).await.unwrap();
}

async fn answer(shared: Shared, request: http::Request<Body>) -> Result<http::Response<Body>, Infallible> {
    let call = seen(&request);
    let method = call.method.clone();
    lock(&shared).calls.push(call);
    thaw(&shared).await;
    let answer = match method.as_str() {
        "StreamingPull" => {
            let pull = service_fn(move |request| stream::pull(shared.clone(), request));
            Grpc::new(ProstCodec::default()).streaming(pull, request).await
        }
        "Acknowledge" => {
            unary(request, move |asked| {
                let answer = lock(&shared).acknowledge(asked);
                async { answer }
            })
            .await
        }
        "ModifyAckDeadline" => {
            unary(request, move |asked| {
                let answer = lock(&shared).modify(asked);
                async { answer }
            })
            .await
        }
        "Publish" => unary(request, move |asked| publish(shared.clone(), asked)).await,
        "GetSubscription" => {
            unary(request, move |asked: GetSubscriptionRequest| {
                let enable_exactly_once_delivery = lock(&shared).script.exactly_once;
                async move {
                    Ok(Subscription {
                        name: asked.subscription,
                        ack_deadline_seconds: 10,
                        enable_exactly_once_delivery,
                        ..Subscription::default()
                    })
                }
            })
            .await
        }
        "GetTopic" => {
            unary(request, |asked: GetTopicRequest| async move {
                Ok(Topic { name: asked.topic, ..Topic::default() })
            })
            .await
        }
        _ => Status::unimplemented(method).into_http(),
    };
    Ok(answer)
}

fn seen(request: &http::Request<Body>) -> Call {
    let metadata = |name| {
        let value: Option<&http::HeaderValue> = request.headers().get(name);
        value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    Call {
        at: Instant::now(),
        method: request.uri().path().rsplit('/').next().unwrap_or_default().to_owned(),
        traceparent: metadata("traceparent"),
        authorization: metadata("authorization"),
    }
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
