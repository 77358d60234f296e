//! cargo run --example custom_broker
//!
//! A broker of your own: `source.rs`, `settler.rs` and `sink.rs` are all that a worker and a publisher need of it, written
//! against throughline-core alone. They pass the suite for adapters: see `../tests/the_custom_broker_conforms.rs`.

mod client;
mod settler;
mod sink;
mod source;

use client::Client;
use source::Queue;
use throughline::{
    BoxError, Json, Message, Origin, Publisher, Rejected, Runtime, Telemetry, Worker, handler,
};

async fn note(message: Message, origin: Origin, Json(order): Json<String>) -> Result<(), BoxError> {
    if order == "a pen" && origin.delivery_count == 1 {
        return Err("not now".into()); // comes again: the worker sees to that
    }
    let trace =
        message.headers().get_str("traceparent").ok_or_else(|| Rejected::new("nobody traced this"))?;
    println!("{order}, delivery {}, sent as {trace}", origin.delivery_count);
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let client = Client::default();
    client.create("orders");
    let mut runtime = Runtime::new(Telemetry::builder("shop").build()?)?;
    let worker = runtime.spawn(Worker::new("note", Queue::new(&client, "orders"), || handler(note)));

    let orders = Publisher::new(Queue::new(&client, "orders"));
    for order in ["a book", "a pen", "a lamp"] {
        let receipt = orders.send(Json(order).to_message()?).await?;
        println!("{order} is {}", receipt.id.as_deref().unwrap_or("nameless"));
    }
    runtime.until(worker.wait_for(|status| status.counts.acked == 3)).await?;

    let counts = worker.status().counts;
    assert_eq!((counts.acked, counts.nacked), (3, 1), "all are done, one of them at the second delivery");
    assert_eq!(client.take("orders", 1).map(|left| left.len()), Some(0), "and nothing is left");
    Ok(())
}
