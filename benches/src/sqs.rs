//! The loops of B13: a full queue, emptied by the raw client and by a worker of equal concurrency, round by round.

use crate::{
    cases::runtime,
    measure::spread,
    queue::{self, IN_FLIGHT, ROUNDS},
    rows::{Rows, Target},
};
use aws_sdk_sqs::{
    Client, Config,
    config::{
        BehaviorVersion, ConfigBag, Credentials, Intercept, Region, RuntimeComponents,
        interceptors::BeforeTransmitInterceptorContextRef,
    },
    types::{DeleteMessageBatchRequestEntry, MessageSystemAttributeName::All},
};
use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};
use throughline::{BoxError, sqs::Sqs};
use tokio::task::JoinSet;

/// Messages of a round, which takes five seconds.
const MESSAGES: u64 = 80_000;

/// One round of one loop.
#[derive(Clone, Copy, Debug)]
struct Round {
    per_second: f64,
    /// Calls a message.
    calls: f64,
    /// Of them, deletes.
    deletes: f64,
}

/// Fills a queue, and empties it, for each loop in turn.
///
/// # Errors
/// The server's.
pub fn bench(address: &str, rows: &mut Rows) -> Result<(), BoxError> {
    let runtime = runtime()?;
    let endpoint = format!("http://{address}");
    let (mut raw, mut worker) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        raw.push(runtime.block_on(round(&endpoint, Loop::Raw))?);
        worker.push(runtime.block_on(round(&endpoint, Loop::Worker))?);
    }
    let of = |rounds: &[Round], what: fn(&Round) -> f64| rounds.iter().map(what).collect::<Vec<_>>();
    let median = |what| spread(of(&worker, what)).1;
    let per_second = |rounds: &[Round]| of(rounds, |round| round.per_second);
    queue::compare(rows, "B13", &per_second(&raw), &per_second(&worker), 0.95)?;
    let deletes = median(|round| round.deletes);
    rows.add("B13", "worker: deletes", deletes, "a message", Target::AtMost(0.11))?;
    let calls = median(|round| round.calls);
    rows.add("B13", "worker: calls in all", calls, "a message", Target::AtMost(0.22))?;
    Ok(())
}

#[derive(Clone, Copy)]
enum Loop {
    Raw,
    Worker,
}

async fn round(endpoint: &str, which: Loop) -> Result<Round, BoxError> {
    let count = Count::default();
    let client = Client::from_conf(config(endpoint).interceptor(count.clone()).build());
    let name = format!("bench-{:08x}", fastrand::u32(..));
    let url = client.create_queue().queue_name(&name).send().await?.queue_url.unwrap_or_default();
    queue::fill(Sqs::local(endpoint).queue(&url), MESSAGES).await?;
    count.reset();
    let began = Instant::now();
    match which {
        Loop::Raw => raw(&client, &url).await?,
        Loop::Worker => {
            let subscription = Sqs::from_client(client.clone()).subscribe(&url);
            queue::worker(subscription.wait(Duration::from_secs(1)), MESSAGES).await?;
        }
    }
    let per_second = MESSAGES as f64 / began.elapsed().as_secs_f64();
    let each = |count: &AtomicU64| count.load(SeqCst) as f64 / MESSAGES as f64;
    let round = Round { per_second, calls: each(&count.all), deletes: each(&count.deletes) };
    client.delete_queue().queue_url(url).send().await?;
    Ok(round)
}

/// As many polls of ten as fit, each of which deletes what it brought before the next. They ask for the attributes too,
/// without which nobody can read a context.
async fn raw(client: &Client, url: &str) -> Result<(), BoxError> {
    let done = Arc::<AtomicU64>::default();
    let mut loops = JoinSet::new();
    for _ in 0..IN_FLIGHT.div_ceil(10) {
        let (client, url, done) = (client.clone(), url.to_owned(), done.clone());
        loops.spawn(async move {
            while done.load(SeqCst) < MESSAGES {
                let ask = client.receive_message().queue_url(&url).max_number_of_messages(10);
                let ask = ask.message_attribute_names("All").message_system_attribute_names(All);
                let messages = ask.wait_time_seconds(1).send().await?.messages.unwrap_or_default();
                if messages.is_empty() {
                    continue;
                }
                let entry = |(n, message): (usize, &aws_sdk_sqs::types::Message)| {
                    black_box(&message.body);
                    let handle = message.receipt_handle.clone().unwrap_or_default();
                    DeleteMessageBatchRequestEntry::builder().id(n.to_string()).receipt_handle(handle).build()
                };
                let entries = messages.iter().enumerate().map(entry).collect::<Result<Vec<_>, _>>()?;
                client.delete_message_batch().queue_url(&url).set_entries(Some(entries)).send().await?;
                done.fetch_add(messages.len() as u64, SeqCst);
            }
            Ok::<_, BoxError>(())
        });
    }
    while done.load(SeqCst) < MESSAGES {
        if let Some(ended) = loops.join_next().await {
            ended??;
        }
    }
    Ok(())
}

fn config(endpoint: &str) -> aws_sdk_sqs::config::Builder {
    Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("local"))
        .credentials_provider(Credentials::new("local", "local", None, None, "bench"))
        .endpoint_url(endpoint)
}

/// Counts calls.
#[derive(Clone, Debug, Default)]
struct Count {
    all: Arc<AtomicU64>,
    deletes: Arc<AtomicU64>,
}

impl Count {
    fn reset(&self) {
        self.all.store(0, SeqCst);
        self.deletes.store(0, SeqCst);
    }
}

impl Intercept for Count {
    fn name(&self) -> &'static str {
        "count"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let action = context.request().headers().get("x-amz-target").unwrap_or_default();
        self.all.fetch_add(1, SeqCst);
        self.deletes.fetch_add(u64::from(action.ends_with(".DeleteMessageBatch")), SeqCst);
        Ok(())
    }
}
