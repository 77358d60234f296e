//! cargo run --example actor_handler
//!
//! An actix actor of your own as the handler: its state needs no lock, and what it sends is below the span of the
//! message it handles, across its mailbox. Works under `#[tokio::main]` with an actix system elsewhere, too.

use actix::{Actor, ActorFutureExt, Handler, ResponseActFuture, WrapFuture};
use opentelemetry_sdk::trace::InMemorySpanExporter;
use serde::Deserialize;
use std::collections::HashMap;
use throughline::{
    BoxError, Json, Message, Publisher, Runtime, Telemetry, Worker,
    actor::{ActorService, Consume, Context},
    memory::Memory,
};
use throughline_test::{Expect, Graph};

#[derive(Deserialize)]
struct Payment {
    account: String,
    cents: i64,
}

/// Knows every balance. There is one of it, and it handles one message at a time.
struct Accounts {
    balances: HashMap<String, i64>,
    changes: Publisher,
}

impl Actor for Accounts {
    /// In place of `actix::Context`: each envelope carries the trace of its sender.
    type Context = Context<Self>;
}

impl Handler<Consume<Json<Payment>>> for Accounts {
    type Result = ResponseActFuture<Self, Result<(), BoxError>>;

    fn handle(
        &mut self,
        Consume(Json(payment)): Consume<Json<Payment>>,
        _: &mut Context<Self>,
    ) -> Self::Result {
        let balance = self.balances.entry(payment.account.clone()).or_default();
        *balance += payment.cents;
        println!("{}: {balance} cents", payment.account);
        let change = Json(*balance).to_message().map(|change| change.with_key(payment.account));
        let changes = self.changes.clone();
        // The answer to the message: acknowledged when the change is published.
        Box::pin(async move { changes.send(change?).await }.into_actor(self).map(|sent, _, _| sent.map(drop)))
    }
}

#[actix::main]
async fn main() -> Result<(), BoxError> {
    let spans = InMemorySpanExporter::default();
    let mut runtime = Runtime::new(Telemetry::builder("bank").exporter(spans.clone()).build()?)?;
    let broker = Memory::new();
    broker.create_topic("payments", 4)?;
    broker.create_topic("balances", 1)?;

    let changes = Publisher::new(broker.topic("balances"));
    let accounts = Context::start(Accounts { balances: HashMap::new(), changes });
    // At most 64 messages in the actor's mailbox, which actix does not bound.
    let stack = move || ActorService::<_, Json<Payment>>::new(accounts.clone(), 64);
    runtime.spawn(Worker::new("book", broker.subscribe("payments").group("bank"), stack));

    let payments = Publisher::new(broker.topic("payments"));
    for (account, cents) in [("anna", 500), ("ben", 300), ("anna", -200), ("ben", 50)] {
        let payment = format!(r#"{{"account":"{account}","cents":{cents}}}"#);
        payments.send(Message::new(payment).with_key(account)).await?;
    }
    runtime.until(broker.caught_up("payments", "bank")).await?;

    let last = |account: &str| {
        let changes = broker.records("balances").into_iter().rev();
        let mut of_account = changes.filter(|change| change.key().is_some_and(|key| key == account));
        of_account.next().map(|change| change.payload().clone())
    };
    assert_eq!((last("anna").as_deref(), last("ben").as_deref()), (Some(&b"300"[..]), Some(&b"350"[..])));
    let graph = Graph::new(spans.get_finished_spans()?);
    let first = graph.spans().first().ok_or("no span was exported")?.id;
    println!("\none payment (\u{21aa} follows a link into another trace):\n{}", graph.tree(first));
    graph.check(&Expect::new().components(4).process_spans(4).sends(8))?;
    Ok(())
}
