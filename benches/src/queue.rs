//! What the benches of a queue share: to fill it, the worker that empties it, and how that compares with the raw client.

use crate::{
    measure::spread,
    rows::{Rows, Target},
};
use std::{hint::black_box, io, time::Duration};
use throughline::{
    BoxError, Endpoint, Message, Publisher, Runtime, Subscription, Telemetry, Worker, handler,
};

/// How often each loop empties the queue.
pub(crate) const ROUNDS: usize = 3;
/// What a worker may run at once, and the raw loop has as near to it as it can.
pub(crate) const IN_FLIGHT: usize = 64;

/// Sends a round's messages, of 100 bytes.
pub(crate) async fn fill(sink: impl Endpoint, messages: u64) -> Result<(), BoxError> {
    let publisher = Publisher::with_telemetry(sink, &Telemetry::off());
    let body = "x".repeat(100);
    for chunk in (0..messages).collect::<Vec<_>>().chunks(1_000) {
        for receipt in publisher.send_all(chunk.iter().map(|_| Message::new(body.clone()))).await {
            receipt?;
        }
    }
    Ok(())
}

/// Empties it by a worker.
pub(crate) async fn worker(subscription: impl Subscription, messages: u64) -> Result<(), BoxError> {
    let mut runtime = Runtime::new(Telemetry::off())?;
    let stack = || handler(|message: Message| async move { drop(black_box(message)) });
    let handle = runtime.spawn(Worker::new("bench", subscription, stack).in_flight(IN_FLIGHT));
    while handle.status().counts.acked < messages {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // The drain waits for what is open and is not what is measured.
    tokio::spawn(runtime.until(std::future::ready(())));
    Ok(())
}

/// Writes down the throughput of both loops, in messages a second by round, and their ratio.
pub(crate) fn compare(
    rows: &mut Rows,
    id: &str,
    raw: &[f64],
    worker: &[f64],
    at_least: f64,
) -> io::Result<()> {
    let mut medians = Vec::new();
    for (name, rounds) in [("raw client", raw), ("worker", worker)] {
        let (worst, middle, best) = spread(rounds.iter().copied());
        let what = format!("{name}: throughput, median (best {best:.0}, worst {worst:.0})");
        rows.add(id, &what, middle, "messages/s", Target::None)?;
        medians.push(middle);
    }
    let what = "worker against the raw client, throughput";
    rows.add(id, what, medians[1] / medians[0], "x", Target::AtLeast(at_least))
}
