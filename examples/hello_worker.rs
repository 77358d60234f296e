//! cargo run --example hello_worker
//!
//! A worker is a name, a subscription and a stack around an async fn. No tracing code is in here, and still each
//! message is handled in a span of its own that is linked to the span it was sent in.

use throughline::{BoxError, Headers, Json, Publisher, Runtime, Telemetry, Worker, handler, memory::Memory};

async fn greet(Json(name): Json<String>, headers: Headers) {
    println!("hello, {name}! (sent as {})", headers.get_str("traceparent").unwrap_or("no trace"));
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    // In a service: `Telemetry::from_env("hello")?`, which exports over OTLP with the cargo feature `otlp`.
    let mut runtime = Runtime::new(Telemetry::builder("hello").build()?)?;
    let broker = Memory::new();
    broker.create_topic("names", 4)?;
    let names = Publisher::new(broker.topic("names"));

    // Called at every start, so that a restarted worker has a fresh stack.
    let stack = || handler(greet);
    let worker = runtime.spawn(Worker::new("greet", broker.subscribe("names").group("greeters"), stack));
    for name in ["Ada", "Grace", "Barbara"] {
        names.send(Json(name).to_message()?).await?;
    }

    // In a service: `runtime.until(shutdown_signal())`. Either way it ends in order: what runs finishes, what waits is
    // given back, and publishers, settlements and spans are flushed.
    runtime.until(broker.caught_up("names", "greeters")).await?;
    assert_eq!(worker.status().counts.acked, 3, "everybody was greeted");
    Ok(())
}
