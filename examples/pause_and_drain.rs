//! cargo run --example pause_and_drain
//!
//! A pause begins nothing new and keeps what is held. A drain finishes what runs and gives back what waits, so that
//! whoever comes next goes on exactly there: nothing is lost, and nothing is done twice.

use std::sync::Arc;
use throughline::{
    BoxError, Json, Publisher, Runtime, State, Telemetry, Worker, WorkerState, handler_with, memory::Memory,
};
use tokio::sync::{Semaphore, mpsc};

const JOBS: u32 = 20;
const AT_ONCE: usize = 4;

#[derive(Clone)]
struct Desk {
    started: mpsc::UnboundedSender<u32>,
    /// A job takes until somebody lets it finish.
    finish: Arc<Semaphore>,
}

async fn work(Json(job): Json<u32>, State(desk): State<Desk>) -> Result<(), BoxError> {
    desk.started.send(job)?;
    desk.finish.acquire().await?.forget();
    Ok(())
}

fn worker(broker: &Memory, desk: &Desk) -> Worker {
    let desk = desk.clone();
    let stack = move || handler_with(desk.clone(), work);
    Worker::new("work", broker.subscribe("jobs").group("workers"), stack).in_flight(AT_ONCE)
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let broker = Memory::new();
    broker.create_topic("jobs", 1)?;
    let jobs = Publisher::new(broker.topic("jobs"));
    let (started, mut starts) = mpsc::unbounded_channel();
    let desk = Desk { started, finish: Arc::new(Semaphore::new(0)) };

    let mut runtime = Runtime::new(Telemetry::off())?;
    let first = runtime.spawn(worker(&broker, &desk));
    first.pause();
    first.reached(|state| state == WorkerState::Paused).await;
    for job in 0..JOBS {
        jobs.send(Json(job).to_message()?).await?;
    }
    let lag = broker.lag("jobs", "workers");
    println!("paused: {:?}, {lag} jobs wait", first.status().state);
    assert!(
        first.status().is_ready() && starts.is_empty(),
        "a worker that is paused is well, and begins nothing"
    );

    first.resume();
    // In a service the signal is `shutdown_signal()`; here: as many jobs run as may.
    let signal = async {
        for _ in 0..AT_ONCE {
            starts.recv().await;
        }
    };
    let finish = async {
        let draining = first.reached(|state| state == WorkerState::Draining).await;
        println!("draining: {} run and may finish, nothing else begins", draining.in_flight);
        desk.finish.add_permits(JOBS as usize);
    };
    let (drained, ()) = tokio::join!(runtime.until(signal), finish);
    drained?; // an error names the step that was not done within the grace
    let (done, left) = (first.status().counts.acked, broker.lag("jobs", "workers"));
    println!("stopped: {done} done, {left} given back");
    assert_eq!((done, left), (4, 16), "what ran was finished, and what waited was given back");

    let mut runtime = Runtime::new(Telemetry::off())?;
    let second = runtime.spawn(worker(&broker, &desk));
    runtime.until(broker.caught_up("jobs", "workers")).await?;
    println!("the next one: {} done", second.status().counts.acked);
    assert_eq!(second.status().counts.acked, 16, "just what the first one left");
    Ok(())
}
