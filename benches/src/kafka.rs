//! The loops of B5: all with the same client configuration, and with an offset that is stored after the handler.

use crate::{
    by_hand::ByHand,
    cases::runtime,
    measure::{cpu_seconds, spread},
    rows::{Rows, Target},
};
use opentelemetry::{
    propagation::Extractor,
    trace::{FutureExt, TraceContextExt, TracerProvider},
};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, SpanData, SpanExporter},
};
use rdkafka::{
    ClientConfig, Message as _,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::{BorrowedHeaders, BorrowedMessage, Header, Headers as _, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer},
    types::RDKafkaErrorCode,
};
use std::{
    future::Future,
    hint::black_box,
    process,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};
use throughline::{BoxError, Message, Runtime, Telemetry, Worker, handler, kafka::Kafka, trace::FollowLinks};
use tokio::sync::Notify;

const PARTITIONS: i32 = 4;
/// More than five seconds' worth for the fastest loop here.
const RECORDS: u64 = 2_000_000;
const ROUNDS: usize = 3;
/// A consumer that brings nothing for so long is broken.
const PATIENCE: Duration = Duration::from_secs(30);

const LOOPS: [(&str, Loop); 5] = [
    ("raw client", Loop::Raw),
    ("raw client, records that outlive the poll", Loop::Detached),
    ("traced by hand", Loop::ByHand),
    ("worker, untraced", Loop::Untraced),
    ("worker, traced", Loop::Traced),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loop {
    Raw,
    /// As the client copies a record, headers and all, for whoever hands it to another thread.
    Detached,
    ByHand,
    Untraced,
    Traced,
}

/// One round of one loop.
#[derive(Clone, Copy, Debug)]
struct Round {
    per_second: f64,
    /// CPU seconds of this process for 100,000 records.
    cpu: f64,
}

/// Publishes the records once, and consumes them with every loop in turn.
///
/// # Errors
/// The broker's, or a loop that did not see every record or did not export every span.
pub fn bench(servers: &str, rows: &mut Rows) -> Result<(), BoxError> {
    let records = std::env::args().filter_map(|word| word.parse().ok()).next().unwrap_or(RECORDS);
    let topic = unique("bench-consume");
    let admin = Kafka::new(servers).admin();
    let runtime = runtime()?;
    runtime.block_on(admin.create_topic(&topic, PARTITIONS))?;
    publish(servers, &topic, records)?;
    // To look at one loop with a profiler.
    let only = std::env::args().skip(1).find(|word| !word.starts_with("--") && word.parse::<u64>().is_err());
    let wanted = |name: &str| only.as_ref().is_none_or(|only| name.ends_with(only.as_str()));
    let mut found: Vec<Vec<Round>> = vec![Vec::new(); LOOPS.len()];
    for _ in 0..ROUNDS {
        for (found, (name, which)) in found.iter_mut().zip(LOOPS) {
            if !wanted(name) {
                continue;
            }
            let clock = Clock::new(records);
            let round = match which {
                Loop::Raw => raw(servers, &topic, &clock, |_| {})?,
                Loop::Detached => raw(servers, &topic, &clock, |record| drop(black_box(record.detach())))?,
                Loop::ByHand => by_hand(servers, &topic, &clock)?,
                Loop::Untraced => worker(&runtime, servers, &topic, clock, Telemetry::off(), None)?,
                Loop::Traced => {
                    let exported = Counting::default();
                    let telemetry = Telemetry::builder("bench")
                        .exporter(exported.clone())
                        .lossless(true)
                        .global(false)
                        .build()?;
                    worker(&runtime, servers, &topic, clock, telemetry, Some(exported))?
                }
            };
            found.push(round);
        }
    }
    runtime.block_on(admin.delete_topic(&topic))?;
    write(rows, &found)
}

fn write(rows: &mut Rows, found: &[Vec<Round>]) -> Result<(), BoxError> {
    for ((name, _), rounds) in LOOPS.iter().zip(found).filter(|(_, rounds)| !rounds.is_empty()) {
        let (worst, median, best) = spread(rounds.iter().map(|round| round.per_second));
        let what = format!("{name}: throughput, median (best {best:.0}, worst {worst:.0})");
        rows.add("B5", &what, median, "messages/s", Target::None)?;
        let (best, median, worst) = spread(rounds.iter().map(|round| round.cpu));
        let what = format!("{name}: CPU, median (best {best:.3}, worst {worst:.3})");
        rows.add("B5", &what, median, "CPU s per 100,000", Target::None)?;
    }
    if found.iter().any(Vec::is_empty) {
        return Ok(());
    }
    let at = |which| LOOPS.iter().position(|(_, each)| *each == which).unwrap_or_default();
    let speed = |which| spread(found[at(which)].iter().map(|round| round.per_second)).1;
    let cpu = |which| spread(found[at(which)].iter().map(|round| round.cpu)).1;
    let untraced = cpu(Loop::Untraced) / cpu(Loop::Raw);
    rows.add("B5", "untraced / raw: CPU", untraced, "x", Target::AtMost(1.4))?;
    rows.add(
        "B5",
        "untraced / raw: throughput",
        speed(Loop::Untraced) / speed(Loop::Raw),
        "x",
        Target::None,
    )?;
    let traced = speed(Loop::Traced) / speed(Loop::ByHand);
    rows.add("B5", "traced / by hand: throughput", traced, "x", Target::AtLeast(1.2))?;
    rows.add("B5", "traced / by hand: CPU", cpu(Loop::Traced) / cpu(Loop::ByHand), "x", Target::None)?;
    Ok(())
}

/// From the first record to the last.
struct Clock {
    records: u64,
    seen: AtomicU64,
    began: Mutex<Option<(Instant, f64)>>,
    done: Notify,
}

impl Clock {
    fn new(records: u64) -> Self {
        Clock { records, seen: AtomicU64::new(0), began: Mutex::new(None), done: Notify::new() }
    }

    /// Counts a record; says whether it was the last.
    fn see(&self) -> bool {
        let before = self.seen.fetch_add(1, Ordering::AcqRel);
        if before == 0
            && let Ok(mut began) = self.began.lock()
        {
            *began = Some((Instant::now(), cpu_seconds()));
        }
        let last = before + 1 == self.records;
        if last {
            self.done.notify_one();
        }
        last
    }

    fn stop(&self) -> Result<Round, BoxError> {
        let (cpu, now) = (cpu_seconds(), Instant::now());
        let began = self.began.lock().ok().and_then(|began| *began);
        let (at, cpu_before) = began.ok_or("no record came")?;
        let records = self.records as f64;
        let seconds = now.duration_since(at).as_secs_f64();
        Ok(Round { per_second: records / seconds, cpu: (cpu - cpu_before) / records * 100_000.0 })
    }
}

fn consumer(servers: &str, topic: &str) -> Result<BaseConsumer, KafkaError> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("group.id", unique("raw"))
        .set("auto.offset.reset", "earliest")
        // What a worker's subscription sets too.
        .set("fetch.queue.backoff.ms", "5")
        .set("queued.max.messages.kbytes", "16384")
        .set("queued.min.messages", "10000")
        .set("fetch.max.bytes", "8388608")
        // The offset is stored after the handler and committed each second: as with a worker.
        .set("enable.auto.offset.store", "false")
        .set("auto.commit.interval.ms", "1000")
        .create()?;
    consumer.subscribe(&[topic])?;
    Ok(consumer)
}

fn raw(
    servers: &str,
    topic: &str,
    clock: &Clock,
    handle: impl Fn(&BorrowedMessage<'_>),
) -> Result<Round, BoxError> {
    let consumer = consumer(servers, topic)?;
    let mut waited = 0;
    loop {
        // Nothing also comes of a rebalance.
        let Some(record) = consumer.poll(Duration::from_secs(1)) else {
            waited += 1;
            if waited > PATIENCE.as_secs() {
                return Err("no record came in time".into());
            }
            continue;
        };
        let record = record?;
        waited = 0;
        handle(&record);
        black_box(record.payload().map(<[u8]>::len));
        let last = clock.see();
        consumer.store_offset_from_message(&record)?;
        if last {
            return clock.stop();
        }
    }
}

fn by_hand(servers: &str, topic: &str, clock: &Clock) -> Result<Round, BoxError> {
    let exported = Counting::default();
    // A queue that holds what a slow turn of the exporter leaves: a dropped span would be a cheap one.
    let config = BatchConfigBuilder::default().with_max_queue_size(1 << 20).build();
    let batch = BatchSpanProcessor::builder(exported.clone()).with_batch_config(config).build();
    let provider =
        SdkTracerProvider::builder().with_sampler(FollowLinks::default()).with_span_processor(batch).build();
    let hand = ByHand::new(provider.tracer("by hand"));
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    raw(servers, topic, clock, |record| {
        let at = (record.partition(), record.offset());
        let context = hand.start(&Get(record.headers()), at, record.key());
        let work = async {
            black_box(record.payload().map(<[u8]>::len));
        };
        runtime.block_on(work.with_context(context.clone()));
        context.span().end();
    })?;
    provider.force_flush()?;
    let round = clock.stop()?;
    exported.all(clock.records)?;
    Ok(round)
}

fn worker(
    runtime: &tokio::runtime::Runtime,
    servers: &str,
    topic: &str,
    clock: Clock,
    telemetry: Telemetry,
    exported: Option<Counting>,
) -> Result<Round, BoxError> {
    // Leaked: the other loops count by reference, and a counted one in each handler would be what is measured.
    let clock: &'static Clock = Box::leak(Box::new(clock));
    let subscription = Kafka::new(servers).group(unique("worker")).topic(topic);
    let stack = move || {
        handler(move |message: Message| async move {
            black_box(message.payload().len());
            clock.see();
        })
    };
    runtime.block_on(async {
        let mut workers = Runtime::new(telemetry.clone())?;
        workers.spawn(Worker::new("bench", subscription, stack));
        let mut round = Err("the worker ended early".into());
        let all = async {
            clock.done.notified().await;
            round = match telemetry.flushed(PATIENCE).await {
                Ok(()) => clock.stop(),
                Err(error) => Err(error.into()),
            };
        };
        workers.until(all).await?;
        if let Some(exported) = exported {
            exported.all(clock.records)?;
        }
        round
    })
}

/// Fills the topic: 100 bytes, a key, and a sampled `traceparent`.
fn publish(servers: &str, topic: &str, records: u64) -> Result<(), BoxError> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("linger.ms", "20")
        .set("queue.buffering.max.messages", "500000")
        .create()?;
    let payload = [b'7'; 100];
    for n in 0..records {
        let key = format!("customer-{:04}", n % 1024);
        let traceparent = format!("00-{:032x}-{:016x}-01", u128::from(n) + 1, n + 1);
        let headers =
            OwnedHeaders::new().insert(Header { key: "traceparent", value: Some(traceparent.as_str()) });
        let partition = (n % PARTITIONS as u64) as i32;
        let mut record =
            BaseRecord::to(topic).partition(partition).key(&key).payload(&payload[..]).headers(headers);
        while let Err((error, back)) = producer.send(record) {
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                return Err(error.into());
            }
            record = back;
            producer.poll(Duration::from_millis(10));
        }
    }
    Ok(producer.flush(PATIENCE)?)
}

fn unique(what: &str) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{what}-{}-{}", process::id(), now.as_nanos())
}

/// An exporter that counts.
#[derive(Clone, Debug, Default)]
struct Counting(Arc<AtomicU64>);

impl Counting {
    fn all(&self, records: u64) -> Result<(), BoxError> {
        let exported = self.0.load(Ordering::Acquire);
        let error = || format!("{exported} spans of {records} were exported").into();
        if exported == records { Ok(()) } else { Err(error()) }
    }
}

impl SpanExporter for Counting {
    fn export(&self, batch: Vec<SpanData>) -> impl Future<Output = OTelSdkResult> + Send {
        self.0.fetch_add(batch.len() as u64, Ordering::AcqRel);
        std::future::ready(Ok(()))
    }
}

/// A record's headers for a propagator: the last of a name.
struct Get<'a>(Option<&'a BorrowedHeaders>);

impl Extractor for Get<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let found = self.0?.iter().filter(|header| header.key == key).last()?;
        std::str::from_utf8(found.value?).ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.into_iter().flat_map(|headers| headers.iter().map(|header| header.key)).collect()
    }
}
