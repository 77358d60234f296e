//! cargo run --example retry_and_dead_letter
//!
//! What becomes of a message that fails: tried again inside its delivery, delivered again later, put aside with the
//! reason, and in the end replayed. Its trace goes on through all of it, and is drawn at the end.

use opentelemetry_sdk::trace::InMemorySpanExporter;
use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};
use throughline::{
    Backoff, BoxError, DeadLetter, Json, Message, Publisher, Redelay, Rejected, RetryLayer, Runtime, State,
    Telemetry, Worker, dead_letter, forward, handler, handler_with, memory::Memory,
};
use throughline_test::{Expect, Graph};
use tower::ServiceBuilder;

static WAREHOUSE_IS_OPEN: AtomicBool = AtomicBool::new(false);

async fn ship(Json(item): Json<String>) -> Result<(), BoxError> {
    match item.as_str() {
        // It can never be done, whoever tries: put aside at once.
        "a unicorn" => return Err(Rejected::new("not in the catalogue").into()),
        // Any other error: perhaps later.
        "a book" if !WAREHOUSE_IS_OPEN.load(Relaxed) => return Err("the warehouse is closed".into()),
        _ => println!("shipped: {item}"),
    }
    Ok(())
}

/// A dead letter is the message as it came, with fields that say what happened to it.
async fn replay(letter: Message, State(orders): State<Publisher>) -> Result<(), BoxError> {
    let field = |name| letter.headers().get_str(name).unwrap_or("-");
    println!("put aside, attempt {}: {}", field(dead_letter::ATTEMPTS), field(dead_letter::REASON));
    if field(dead_letter::ERROR_TYPE) != "rejected" {
        WAREHOUSE_IS_OPEN.store(true, Relaxed);
        orders.send(forward(&letter)).await?;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let spans = InMemorySpanExporter::default();
    let telemetry = Telemetry::builder("shop").exporter(spans.clone()).build()?;
    let broker = Memory::new();
    broker.create_topic("orders", 1)?;
    broker.create_topic("orders-dead", 1)?;
    let orders = Publisher::new(broker.topic("orders"));
    for item in ["a book", "a unicorn", "a pen"] {
        orders.send(Json(item).to_message()?).await?;
    }

    let mut runtime = Runtime::new(telemetry)?;
    let retry = RetryLayer::new(Backoff::exponential(1).starting_at(Duration::from_millis(10)));
    let stack = move || ServiceBuilder::new().layer(retry.clone()).service(handler(ship));
    let letters = Publisher::new(broker.topic("orders-dead"));
    let shipping = runtime.spawn(
        Worker::new("ship", broker.subscribe("orders").group("shipping"), stack)
            .redelay(Redelay::exponential(Duration::from_millis(50), Duration::from_secs(1)))
            .dead_letter(DeadLetter::to(letters).after(2)),
    );
    runtime.spawn(Worker::new("replay", broker.subscribe("orders-dead").group("clerk"), move || {
        handler_with(orders.clone(), replay)
    }));
    let all_done = async {
        broker.caught_up("orders", "shipping").await;
        broker.caught_up("orders-dead", "clerk").await;
        broker.caught_up("orders", "shipping").await; // what was replayed
    };
    runtime.until(all_done).await?;

    let counts = shipping.status().counts;
    assert_eq!(
        (counts.acked, counts.nacked, counts.put_aside),
        (2, 1, 2),
        "the book and the pen were shipped"
    );
    let graph = Graph::new(spans.get_finished_spans()?);
    let book = graph.spans().first().ok_or("no span was exported")?.id;
    println!("\nthe way of the book (\u{21aa} follows a link into another trace):\n{}", graph.tree(book));
    graph.check(&Expect::new().components(3).attempts(2))?;
    Ok(())
}
