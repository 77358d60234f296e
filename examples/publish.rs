//! cargo run --example publish
//!
//! A publisher sends one message or many, gives the broker's receipt for each, and takes any Tower layer around it.
//! Every send has a span whose context goes along in the message's headers.

use serde::Serialize;
use std::time::Duration;
use throughline::{BoxError, Error, ErrorKind, Json, Message, Publisher, Telemetry, memory::Memory};
use tower::limit::RateLimitLayer;

#[derive(Serialize)]
struct Order {
    customer: String,
    item: &'static str,
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let broker = Memory::new();
    broker.create_topic("orders", 4)?;
    // One for each destination: a clone is a reference count, so every handler gets one.
    let orders =
        Publisher::new(broker.topic("orders")).layer(RateLimitLayer::new(500, Duration::from_secs(1)));
    // It takes its tracer at the first send, so it may be there before the telemetry is.
    let _telemetry = Telemetry::builder("shop").build()?;

    let order = Order { customer: "customer-7".to_owned(), item: "a book" };
    let receipt = orders.send(message(&order)?).await?;
    println!("one: {receipt:?}");

    let many = (0..100).map(|n| Order { customer: format!("customer-{}", n % 10), item: "a pen" });
    let many = many.map(|order| message(&order)).collect::<Result<Vec<_>, _>>()?;
    let receipts = orders.send_all(many).await.into_iter().collect::<Result<Vec<_>, _>>()?;
    println!("many: {} receipts, in the order of the messages", receipts.len());
    // The key chooses the partition, so what one customer ordered stays in order.
    assert_eq!(receipts[7].partition, receipt.partition);

    let sent = broker.records("orders");
    assert_eq!(sent.len(), 101);
    let traceparent = sent[0].headers().get_str("traceparent").ok_or("nothing was injected")?;
    println!("on the wire: {traceparent}");

    // Nothing is retried behind your back; the error says what is wrong and what to do about it.
    let nowhere = Publisher::new(broker.topic("ordres"));
    let refused =
        nowhere.send(Message::new("lost?")).await.err().ok_or("no such topic, and yet it was sent")?;
    println!("refused: {refused}");
    assert_eq!(refused.downcast_ref().map(Error::kind), Some(ErrorKind::NotFound));
    Ok(())
}

fn message(order: &Order) -> Result<Message, serde_json::Error> {
    Ok(Json(order).to_message()?.with_key(order.customer.clone()).with_header("source", "web"))
}
