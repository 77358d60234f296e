//! One streaming pull.

use super::{Shared, TICK, lock, state::Turn};
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::{StreamingPullRequest, StreamingPullResponse};
use tokio::sync::mpsc;
use tonic::{
    Request, Response, Status, Streaming,
    codegen::{BoxStream, tokio_stream, tokio_stream::StreamExt as _},
};

/// Opens it. As on the service, nothing comes back before the first response.
pub(super) async fn pull(
    shared: Shared,
    request: Request<Streaming<StreamingPullRequest>>,
) -> Result<Response<BoxStream<StreamingPullResponse>>, Status> {
    let mut requests = request.into_inner();
    let first = requests.message().await?;
    let first = first.ok_or_else(|| Status::invalid_argument("a stream begins with its subscription"))?;
    let number = lock(&shared).open(first);
    // Of one: what the client does not read is not sent.
    let (answers, mut answered) = mpsc::channel(1);
    tokio::spawn(serve(shared, number, requests, answers));
    match answered.recv().await {
        Some(Ok(first)) => {
            let rest = futures_util::stream::poll_fn(move |cx| answered.poll_recv(cx));
            Ok(Response::new(Box::pin(tokio_stream::once(Ok(first)).chain(rest))))
        }
        Some(Err(status)) => Err(status),
        None => Err(Status::unavailable("the stream ended before it began")),
    }
}

async fn serve(
    shared: Shared,
    number: usize,
    mut requests: Streaming<StreamingPullRequest>,
    answers: mpsc::Sender<Result<StreamingPullResponse, Status>>,
) {
    loop {
        let mut kept_alive = false;
        tokio::select! {
            () = answers.closed() => break,
            // The client's keep-alives, and its end.
            request = requests.message() => match request {
                Ok(Some(_)) => kept_alive = true,
                _ => break,
            },
            () = tokio::time::sleep(TICK) => {}
        }
        let turn = lock(&shared).turn(number, kept_alive);
        let sent = match turn {
            Turn::Rest => continue,
            Turn::Send(response) => answers.send(Ok(response)).await,
            Turn::End(status) => {
                // Nobody is left to hear of it.
                let _ = answers.send(Err(status)).await;
                break;
            }
        };
        if sent.is_err() {
            break;
        }
    }
    lock(&shared).close(number);
}
