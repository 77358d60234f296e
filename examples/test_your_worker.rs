//! cargo run --example test_your_worker
//!
//! Your own worker under test: faults around its stack, a ledger that says whether anything was lost or done twice, and
//! the exported spans, which say whether a trace broke. As a test: `cargo test --example test_your_worker`.

use opentelemetry_sdk::trace::InMemorySpanExporter;
use std::time::Duration;
use throughline::{
    Backoff, BoxError, FromMessage, Json, Message, Next, Publisher, Redelay, RetryLayer, Runtime, Settlement,
    State, Telemetry, Worker, from_fn, handler_with, memory::Memory,
};
use throughline_test::{
    Demands, Entry, Ev, Expect, Graph, Ledger, Meta, Report, Row, check, fault::FailLayer,
};
use tower::{Service, ServiceBuilder};

// === yours ===

async fn double(Json(number): Json<u64>, State(doubles): State<Publisher>) -> Result<(), BoxError> {
    doubles.send(Json(2 * number).to_message()?).await?;
    Ok(())
}

/// The stack as the service runs it.
fn stack(
    doubles: Publisher,
) -> impl Service<Message, Response = Settlement, Error = BoxError, Future: Send> + Clone + Send + Sync {
    let retry = RetryLayer::new(Backoff::exponential(2).starting_at(Duration::from_millis(1)));
    ServiceBuilder::new().layer(retry).service(handler_with(doubles, double))
}

// === the test ===

const NUMBERS: u64 = 200;

async fn nothing_is_lost_and_no_trace_breaks() -> Result<(Row, Report), BoxError> {
    let spans = InMemorySpanExporter::default();
    // Not the process's own, so that tests can run side by side.
    let telemetry = Telemetry::builder("test").exporter(spans.clone()).global(false).build()?;
    let broker = Memory::new();
    broker.create_topic("numbers", 4)?;
    broker.create_topic("doubles", 1)?;
    let doubles = Publisher::with_telemetry(broker.topic("doubles"), &telemetry);
    let numbers = Publisher::with_telemetry(broker.topic("numbers"), &telemetry);

    let folder = std::env::temp_dir().join(format!("test-your-worker-{}", std::process::id()));
    let demands = Demands::new().ids(NUMBERS).duplicates(0);
    let ledger = Ledger::begin(&folder, &Meta::new("every number is doubled", "memory", demands))?;
    for number in 0..NUMBERS {
        numbers.send(Json(number).to_message()?).await?;
        ledger.record(Entry::new(Ev::Produced, number))?;
    }

    // Every tenth delivery fails before your stack sees it, and comes again.
    let faults = FailLayer::every(10);
    let note = from_fn(move |message: Message, next: Next| {
        let ledger = ledger.clone();
        async move {
            let Json(number) = Json::from_message(&message, &())?;
            let answer = next.run(message).await?;
            ledger.record(Entry::new(Ev::Finished, number))?;
            Ok::<_, BoxError>(answer)
        }
    });
    let under_test = move || {
        ServiceBuilder::new().layer(note.clone()).layer(faults.clone()).service(stack(doubles.clone()))
    };
    let mut runtime = Runtime::new(telemetry)?;
    runtime.spawn(
        Worker::new("double", broker.subscribe("numbers").group("doubler"), under_test)
            .redelay(Redelay::exponential(Duration::from_millis(1), Duration::from_millis(10))),
    );
    runtime.until(broker.caught_up("numbers", "doubler")).await?;

    let row = check(&folder)?;
    std::fs::remove_dir_all(folder)?;
    // One connected piece a number, and each is sent on once, however often it was delivered.
    let expect = Expect::new().components(NUMBERS as usize).sends(2 * NUMBERS as usize);
    let report = Graph::new(spans.get_finished_spans()?).check(&expect)?;
    if row.ok { Ok((row, report)) } else { Err(row.why.into()) }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let (row, report) = nothing_is_lost_and_no_trace_breaks().await?;
    println!("ledger: {row}\ntraces: {report}");
    Ok(())
}

#[cfg(test)]
mod tests {
    #[tokio::test]
    async fn nothing_is_lost_and_no_trace_breaks() -> Result<(), throughline::BoxError> {
        super::nothing_is_lost_and_no_trace_breaks().await.map(drop)
    }
}
