//! cargo run --example custom_middleware
//!
//! Middleware of your own: an async fn with `from_fn`, and a Tower layer written by hand, which costs no allocation and
//! has nothing of this framework in it but the message. Both run inside the message's span.

use std::{
    task::{Context, Poll},
    time::Instant,
};
use throughline::{
    BoxError, DeadLetter, Extension, Json, Message, Next, Publisher, Runtime, Settlement, Telemetry, Worker,
    from_fn, handler, memory::Memory,
};
use tower::{Layer, Service, ServiceBuilder};

/// Sees every message and every answer. It may also change them, answer itself, or run the rest twice.
async fn audit(message: Message, next: Next) -> Result<Settlement, BoxError> {
    let (began, size) = (Instant::now(), message.payload().len());
    let answer = next.run(message).await;
    println!("{size} bytes in {:?}: {answer:?}", began.elapsed());
    answer
}

/// Finds out whose message it is, for every handler below.
#[derive(Clone)]
struct TenantLayer;

#[derive(Clone)]
struct WithTenant<S>(S);

#[derive(Clone, Debug)]
struct Tenant(String);

impl<S> Layer<S> for TenantLayer {
    type Service = WithTenant<S>;

    fn layer(&self, inner: S) -> WithTenant<S> {
        WithTenant(inner)
    }
}

impl<S: Service<Message>> Service<Message> for WithTenant<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut message: Message) -> S::Future {
        if let Some(tenant) = message.headers().get_str("tenant").map(str::to_owned) {
            message.extensions_mut().insert(Tenant(tenant));
        }
        self.0.call(message)
    }
}

/// A message without a tenant never gets here: `Extension` rejects it, so that it goes to the dead letters.
async fn invoice(Extension(tenant): Extension<Tenant>, Json(cents): Json<u32>) {
    println!("{} pays {cents} cents", tenant.0);
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let broker = Memory::new();
    broker.create_topic("invoices", 4)?;
    broker.create_topic("invoices-dead", 1)?;
    let invoices = Publisher::new(broker.topic("invoices"));
    for tenant in ["acme", "globex"] {
        invoices.send(Json(1999).to_message()?.with_header("tenant", tenant)).await?;
    }
    invoices.send(Json(1999).to_message()?).await?;

    let mut runtime = Runtime::new(Telemetry::off())?;
    let stack = || ServiceBuilder::new().layer(from_fn(audit)).layer(TenantLayer).service(handler(invoice));
    let worker = runtime.spawn(
        Worker::new("invoice", broker.subscribe("invoices").group("billing"), stack)
            .dead_letter(DeadLetter::to(Publisher::new(broker.topic("invoices-dead")))),
    );
    runtime.until(broker.caught_up("invoices", "billing")).await?;
    let counts = worker.status().counts;
    assert_eq!(
        (counts.acked, counts.put_aside),
        (2, 1),
        "two are invoiced, and the one without a tenant is put aside"
    );
    Ok(())
}
