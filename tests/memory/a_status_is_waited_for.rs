//! Who waits for a status is told of it, and of an end that comes first.

use std::time::Duration;
use throughline::{
    BoxError, Error, ErrorKind, Json, Publisher, Redelay, Rejected, Restarts, Runtime, Telemetry, Worker,
    WorkerState, handler,
    memory::{At, Fault, Memory},
};
use throughline_tests::within;

const MESSAGES: u64 = 1_000;

async fn odd(Json(number): Json<u64>) -> Result<(), BoxError> {
    if number % 2 == 0 { Err(Rejected::new("even").into()) } else { Ok(()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_messages_are_waited_for() {
    let broker = Memory::new().auto_create(4);
    let mut runtime = Runtime::new(Telemetry::off()).unwrap();
    let worker = Worker::new("odd", broker.subscribe("numbers").group("g"), || handler(odd)).replicas(2);
    let worker = runtime.spawn(worker.on_reject(throughline::OnReject::Discard));
    let all = worker.wait_for(|status| status.counts.acked + status.counts.put_aside == MESSAGES);
    let send = async {
        let numbers = Publisher::new(broker.topic("numbers"));
        // One after the other: each may be the last for a while, and nothing else then wakes who waits.
        for number in 0..MESSAGES {
            numbers.send(Json(number).to_message().unwrap()).await.unwrap();
        }
    };
    let (status, ()) = within("all are counted", async { tokio::join!(all, send) }).await;
    assert_eq!((status.counts.acked, status.counts.put_aside), (MESSAGES / 2, MESSAGES / 2));
    let none = worker.wait_for(|status| status.counts.acked > MESSAGES);
    let (status, ended) = within("its end", async { tokio::join!(none, runtime.until(async {})) }).await;
    ended.unwrap();
    assert_eq!(status.state, WorkerState::Stopped { clean: true });
}

#[tokio::test]
async fn a_worker_that_gives_up_is_not_waited_for() {
    let broker = Memory::new().auto_create(1);
    broker.fail(At::Subscribe, Fault::error(Error::new(ErrorKind::Unreachable, "memory", "")).times(9));
    let mut runtime = Runtime::new(Telemetry::off()).unwrap();
    let restarts = Restarts { at_most: 2, first: Duration::from_millis(1), ..Restarts::default() };
    let worker = Worker::new("odd", broker.subscribe("numbers").group("g"), || handler(odd));
    let worker = runtime.spawn(worker.restarts(restarts).redelay(Redelay::default()));
    let status = within("it gives up", worker.wait_for(|status| status.counts.acked == 1)).await;
    assert_eq!((status.state, status.restarts), (WorkerState::Failed, 2));
    assert!(runtime.until(std::future::pending::<()>()).await.is_err(), "and the end says so");
}
