//! The code of the README, line for line, so that it compiles there too.

#![cfg(feature = "real")]
#![allow(dead_code, clippy::expect_used, reason = "what is shown is not run")]

#[derive(serde::Deserialize, serde::Serialize)]
pub struct Order {
    item: String,
}

#[rustfmt::skip]
mod a_worker {
    use super::Order;

    fn enrich(order: Order) -> Order {
        order
    }

    use std::time::Duration;
    use throughline::{
        Backoff, BoxError, DeadLetter, Json, Message, Next, Publisher, RetryLayer, Runtime, Settlement, State, Telemetry,
        Worker, from_fn, handler_with, kafka::Kafka, shutdown_signal,
    };
    use tower::{ServiceBuilder, limit::RateLimitLayer};

    async fn classify(Json(order): Json<Order>, State(publisher): State<Publisher>) -> Result<(), BoxError> {
        publisher.send(Json(enrich(order)).to_message()?).await?; // the send span, and traceparent, are inside
        Ok(())                                                    // or a Settlement, or an Err: then it comes again
    }

    async fn audit(message: Message, next: Next) -> Result<Settlement, BoxError> {
        next.run(message).await
    }

    #[tokio::main]
    async fn main() -> Result<(), BoxError> {
        let kafka = Kafka::new("127.0.0.1:9092");
        let publisher = Publisher::new(kafka.topic("enriched")).layer(RateLimitLayer::new(500, Duration::from_secs(1)));
        let letters = Publisher::new(kafka.topic("orders-dead"));
        let stack = move || {                                     // built at every start, once a replica: need not be Clone
            ServiceBuilder::new()
                .layer(from_fn(audit))                            // your own middleware, as an async fn or a tower layer
                .layer(RetryLayer::new(Backoff::exponential(3)))  // tower's own Retry, each try a linked span
                .timeout(Duration::from_secs(30))
                .service(handler_with(publisher.clone(), classify))
        };
        let mut runtime = Runtime::new(Telemetry::from_env("classifier")?)?;
        runtime.spawn(
            Worker::new("classify", kafka.group("classifier").topic("orders"), stack)
                .in_flight(256)
                .dead_letter(DeadLetter::to(letters)),
        );
        runtime.until(shutdown_signal()).await?;                  // SIGTERM and ctrl-c; drains within its grace
        Ok(())
    }
}

#[rustfmt::skip]
mod batches {
    use super::Order;
    use std::time::Duration;
    use throughline::{BatchPolicy, BoxError, Json, Runtime, State, Worker, batch_handler_with, kafka::Kafka};
    use tower::ServiceBuilder;

    #[derive(Clone)]
    struct Db;

    impl Db {
        async fn insert_all(&self, _: &[Json<Order>]) -> Result<(), BoxError> {
            Ok(())
        }
    }

    fn spawn(runtime: &mut Runtime, kafka: &Kafka, db: Db) {
        async fn store(orders: Vec<Json<Order>>, State(db): State<Db>) -> Result<(), BoxError> {
            db.insert_all(&orders).await                              // or a Vec of one answer a message, or Answers by place
        }
        let policy = BatchPolicy::at_most(500).within(Duration::from_millis(20));
        runtime.spawn(Worker::batches("store", kafka.group("store").topic("orders"), policy, move || {
            ServiceBuilder::new().timeout(Duration::from_secs(30)).service(batch_handler_with(db.clone(), store))
        }));
    }
}

/// Every block of Rust in the README is above.
#[test]
fn the_code_of_the_readme_is_here() {
    let here = include_str!("the_readme_compiles.rs");
    let here: Vec<_> = here.lines().map(str::trim).collect();
    let readme = include_str!("../../README.md");
    let blocks: Vec<_> =
        readme.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        let block: Vec<_> = block.lines().map(str::trim).collect();
        let found = here.windows(block.len()).any(|lines| lines == block);
        assert!(found, "copy this block of the README to {}:\n{}", file!(), block.join("\n"));
    }
}
