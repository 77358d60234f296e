//! A program that only sends runs until it is told, as one with workers does.

use std::{pin::pin, time::Duration};
use throughline::{Runtime, Telemetry};
use throughline_tests::within;
use tokio::{sync::oneshot, time::timeout};

#[tokio::test(flavor = "multi_thread")]
async fn it_runs_until_its_signal() {
    let (tell, told) = oneshot::channel::<()>();
    let mut running = pin!(Runtime::new(Telemetry::off()).unwrap().until(told));
    let ended = timeout(Duration::from_millis(200), &mut running).await;
    assert!(ended.is_err(), "there was no signal: {ended:?}");
    tell.send(()).unwrap();
    within("its end", running).await.unwrap();
}
