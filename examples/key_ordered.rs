//! cargo run --example key_ordered
//!
//! Messages of one key are handled one at a time and in order; those of other keys run beside them, also within one
//! partition. The handlers here wait for each other, so that both can be seen.

use std::{sync::Arc, time::Duration};
use throughline::{
    BoxError, Json, Message, Ordering, Publisher, Runtime, State, Telemetry, Worker, handler_with,
    memory::Memory,
};
use tokio::sync::{Barrier, mpsc};
use tower::ServiceBuilder;

const ACCOUNTS: [&str; 3] = ["anna", "ben", "cleo"];
const BOOKINGS: u32 = 5;

#[derive(Clone)]
struct Desk {
    /// Opens when a booking of every account is being handled.
    together: Arc<Barrier>,
    booked: mpsc::UnboundedSender<(String, u32)>,
}

async fn book(message: Message, Json(number): Json<u32>, State(desk): State<Desk>) -> Result<(), BoxError> {
    let account = String::from_utf8(message.key().ok_or("a booking without an account")?.to_vec())?;
    desk.together.wait().await;
    println!("{account}: booking {number}");
    desk.booked.send((account, number))?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let broker = Memory::new();
    broker.create_topic("bookings", 1)?;
    let publisher = Publisher::new(broker.topic("bookings"));
    for account in ACCOUNTS {
        for number in 0..BOOKINGS {
            publisher.send(Json(number).to_message()?.with_key(account)).await?;
        }
    }

    let (booked, mut bookings) = mpsc::unbounded_channel();
    let desk = Desk { together: Arc::new(Barrier::new(ACCOUNTS.len())), booked };
    let stack = move || {
        ServiceBuilder::new().timeout(Duration::from_secs(5)).service(handler_with(desk.clone(), book))
    };
    let mut runtime = Runtime::new(Telemetry::off())?;
    runtime.spawn(
        Worker::new("book", broker.subscribe("bookings").group("bank"), stack)
            .in_flight(64)
            .ordering(Ordering::Key), // the default; `Partition` is stricter, `None` lets everything run
    );
    let patience = Duration::from_secs(10);
    runtime.until(tokio::time::timeout(patience, broker.caught_up("bookings", "bank"))).await?;

    let mut done = Vec::new();
    while let Ok(booking) = bookings.try_recv() {
        done.push(booking);
    }
    assert_eq!(done.len(), 15, "all are booked");
    for (number, round) in (0..BOOKINGS).zip(done.chunks_mut(ACCOUNTS.len())) {
        round.sort();
        assert_eq!(
            round,
            ACCOUNTS.map(|account| (account.to_owned(), number)),
            "one of each account, side by side"
        );
    }
    Ok(())
}
