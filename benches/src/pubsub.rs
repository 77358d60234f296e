//! The loops of B14: a full subscription, emptied by the official client's stream and by a worker on one stream, round by
//! round.

use crate::{
    cases::runtime,
    queue::{self, IN_FLIGHT, ROUNDS},
    rows::Rows,
};
use google_cloud_auth::credentials::anonymous;
use google_cloud_pubsub::client::Subscriber;
use std::{hint::black_box, time::Instant};
use throughline::{
    BoxError,
    pubsub::{NewSubscription, PubSub},
};

const PROJECT: &str = "bench";
/// Messages of a round, which takes five seconds.
const MESSAGES: u64 = 10_000;

/// Fills a subscription, and empties it, for each loop in turn.
///
/// # Errors
/// The server's.
pub fn bench(address: &str, rows: &mut Rows) -> Result<(), BoxError> {
    let runtime = runtime()?;
    let (mut raw, mut worker) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        raw.push(runtime.block_on(round(address, Loop::Raw))?);
        worker.push(runtime.block_on(round(address, Loop::Worker))?);
    }
    Ok(queue::compare(rows, "B14", &raw, &worker, 0.97)?)
}

#[derive(Clone, Copy)]
enum Loop {
    Raw,
    Worker,
}

/// Messages a second.
async fn round(address: &str, which: Loop) -> Result<f64, BoxError> {
    let pubsub = PubSub::emulator(address, PROJECT);
    let name = format!("bench-{:08x}", fastrand::u32(..));
    pubsub.create_topic(&name).await?;
    pubsub.create_subscription(&NewSubscription::new(&name, &name)).await?;
    queue::fill(pubsub.topic(&name), MESSAGES).await?;
    let began = Instant::now();
    match which {
        Loop::Raw => raw(address, &name).await?,
        // The emulator gives each stream its share of messages a second: of equal streams, then.
        Loop::Worker => queue::worker(pubsub.subscribe(&name).streams(1), MESSAGES).await?,
    }
    Ok(MESSAGES as f64 / began.elapsed().as_secs_f64())
}

/// The loop of the client's own documentation.
async fn raw(address: &str, name: &str) -> Result<(), BoxError> {
    let client = Subscriber::builder().with_endpoint(format!("http://{address}"));
    let client = client.with_credentials(anonymous::Builder::new().build()).build().await?;
    let subscription = client.subscribe(format!("projects/{PROJECT}/subscriptions/{name}"));
    let mut stream = subscription.set_max_outstanding_messages(2 * IN_FLIGHT as i64).build();
    for _ in 0..MESSAGES {
        let Some(next) = stream.next().await else { break };
        let (message, handler) = next?;
        drop(black_box(message));
        handler.ack();
    }
    Ok(())
}
