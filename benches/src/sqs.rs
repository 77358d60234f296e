//! The loops of B13: a full queue, emptied by the raw client and by a worker of equal concurrency, round by round.

use crate::{
    cases::runtime,
    measure::spread,
    rows::{Rows, Target},
};
use aws_sdk_sqs::{
    Client, Config,
    config::{
        BehaviorVersion, ConfigBag, Credentials, Intercept, Region, RuntimeComponents,
        interceptors::BeforeTransmitInterceptorContextRef,
    },
    types::DeleteMessageBatchRequestEntry,
};
use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};
use throughline::{BoxError, Message, Publisher, Runtime, Telemetry, Worker, handler, sqs::Sqs};
use tokio::task::JoinSet;

const MESSAGES: u64 = 10_000;
const ROUNDS: usize = 3;
/// What a worker may run at once; the raw loop has as many polls of ten as fit.
const IN_FLIGHT: usize = 64;

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
    let median = |rounds: &[Round], of: fn(&Round) -> f64| spread(rounds.iter().map(of));
    for (name, rounds) in [("raw client", &raw), ("worker", &worker)] {
        let (worst, middle, best) = median(rounds, |round| round.per_second);
        let what = format!("{name}: throughput, median (best {best:.0}, worst {worst:.0})");
        rows.add("B13", &what, middle, "messages/s", Target::None)?;
    }
    let of = |rounds: &[Round], what: fn(&Round) -> f64| median(rounds, what).1;
    let ratio = of(&worker, |round| round.per_second) / of(&raw, |round| round.per_second);
    rows.add("B13", "worker against the raw client, throughput", ratio, "x", Target::AtLeast(0.95))?;
    let deletes = of(&worker, |round| round.deletes);
    rows.add("B13", "worker: deletes", deletes, "a message", Target::AtMost(0.11))?;
    let calls = of(&worker, |round| round.calls);
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
    let publisher = Publisher::with_telemetry(Sqs::local(endpoint).queue(&url), &Telemetry::off());
    let body = "x".repeat(100);
    for chunk in (0..MESSAGES).collect::<Vec<_>>().chunks(1_000) {
        for receipt in publisher.send_all(chunk.iter().map(|_| Message::new(body.clone()))).await {
            receipt?;
        }
    }
    count.reset();
    let began = Instant::now();
    match which {
        Loop::Raw => raw(&client, &url).await?,
        Loop::Worker => worker(client.clone(), &url).await?,
    }
    let per_second = MESSAGES as f64 / began.elapsed().as_secs_f64();
    let each = |count: &AtomicU64| count.load(SeqCst) as f64 / MESSAGES as f64;
    let round = Round { per_second, calls: each(&count.all), deletes: each(&count.deletes) };
    client.delete_queue().queue_url(url).send().await?;
    Ok(round)
}

/// Polls of ten, each of which deletes what it brought before the next.
async fn raw(client: &Client, url: &str) -> Result<(), BoxError> {
    let done = Arc::<AtomicU64>::default();
    let mut loops = JoinSet::new();
    for _ in 0..IN_FLIGHT.div_ceil(10) {
        let (client, url, done) = (client.clone(), url.to_owned(), done.clone());
        loops.spawn(async move {
            while done.load(SeqCst) < MESSAGES {
                let ask = client.receive_message().queue_url(&url).max_number_of_messages(10);
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

async fn worker(client: Client, url: &str) -> Result<(), BoxError> {
    let subscription = Sqs::from_client(client).subscribe(url).wait(Duration::from_secs(1));
    let mut runtime = Runtime::new(Telemetry::off())?;
    let stack = || handler(|message: Message| async move { drop(black_box(message)) });
    let handle = runtime.spawn(Worker::new("bench", subscription, stack).in_flight(IN_FLIGHT));
    while handle.status().counts.acked < MESSAGES {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // The drain waits for polls and is not what is measured.
    tokio::spawn(runtime.until(std::future::ready(())));
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
