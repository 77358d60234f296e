//! cargo run --example batch
//!
//! Several messages in one call, for a database that likes few large writes. A batch closes when it is full or has
//! waited long enough; what cannot be decoded is set apart, and everything else of its batch is stored.

use serde::{Deserialize, Serialize};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use throughline::{
    BatchPolicy, BoxError, DeadLetter, Json, Message, Ordering, Publisher, Runtime, State, Telemetry, Worker,
    batch_handler_with, memory::Memory,
};
use tower::ServiceBuilder;

#[derive(Deserialize, Serialize)]
struct Reading {
    sensor: u32,
    celsius: f32,
}

/// In place of a database: the size of each write.
#[derive(Clone, Default)]
struct Database(Arc<Mutex<Vec<usize>>>);

/// One answer for the whole batch; `Vec<Settlement>` and `Answers` answer message by message. If it fails, all come
/// again in smaller batches, until the one that cannot be stored is alone.
async fn store(readings: Vec<Json<Reading>>, State(database): State<Database>) -> Result<(), BoxError> {
    let hottest = readings.iter().map(|Json(reading)| reading.celsius).fold(f32::MIN, f32::max);
    println!("{} readings in one write, up to {hottest} degrees", readings.len());
    database.0.lock().unwrap_or_else(PoisonError::into_inner).push(readings.len());
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let broker = Memory::new();
    broker.create_topic("readings", 4)?;
    broker.create_topic("readings-dead", 1)?;
    let publisher = Publisher::new(broker.topic("readings"));
    let readings = (0..1000).map(|n| Json(Reading { sensor: n % 20, celsius: (n % 37) as f32 }));
    let mut messages = readings.map(|reading| reading.to_message()).collect::<Result<Vec<_>, _>>()?;
    messages.insert(500, Message::new("no reading"));
    publisher.send_all(messages).await.into_iter().collect::<Result<Vec<_>, _>>()?;

    let database = Database::default();
    let tables = database.clone();
    let stack = move || {
        let handler = batch_handler_with(tables.clone(), store);
        ServiceBuilder::new().timeout(Duration::from_secs(30)).service(handler)
    };
    let policy = BatchPolicy::at_most(200).within(Duration::from_millis(20));
    let mut runtime = Runtime::new(Telemetry::off())?;
    runtime.spawn(
        Worker::batches("store", broker.subscribe("readings").group("store"), policy, stack)
            .ordering(Ordering::None) // a batch may be of several partitions; if not said, it is of one
            .dead_letter(DeadLetter::to(Publisher::new(broker.topic("readings-dead")))),
    );
    runtime.until(broker.caught_up("readings", "store")).await?;

    let writes = database.0.lock().unwrap_or_else(PoisonError::into_inner);
    println!("{} writes, {} dead letter", writes.len(), broker.end("readings-dead", 0));
    assert_eq!(writes.iter().sum::<usize>(), 1000, "every reading is stored once");
    assert!(writes.len() < 100, "in few writes");
    assert_eq!(broker.end("readings-dead", 0), 1, "and what is no reading is put aside");
    Ok(())
}
