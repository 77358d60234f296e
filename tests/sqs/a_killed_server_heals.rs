//! G6: the server's process is killed on the way, and started again with what it had acknowledged.

use crate::site::Account;
use std::time::Duration;
use throughline::{Error, ErrorKind};
use throughline_tests::{WorkerProcess, an_outage_heals::nothing_is_lost_and_every_failed_send_is_told};
use tokio::task::block_in_place;
use xtask::OwnSqs;

/// What was handled and whose delete the outage ate, with what was in flight: both outages, two workers.
const DUPLICATES: u64 = 2 * 2 * (64 + 1_000);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_heals() {
    let mut server = block_in_place(OwnSqs::start).unwrap();
    let endpoint = format!("http://{}", server.address());
    let (sends, told) = nothing_is_lost_and_every_failed_send_is_told(
        &Account::at(&endpoint),
        DUPLICATES,
        |stage, queue| stage.subscription(queue).visibility(Duration::from_secs(5)),
        |queue, ledger| {
            let words = [endpoint.clone(), queue.to_owned(), ledger.to_str().unwrap().to_owned()];
            WorkerProcess::start("sqs_worker", &words)
        },
        |on| block_in_place(|| if on { server.restart() } else { server.kill() }).unwrap(),
        while_it_starts,
    )
    .await;
    assert!(told, "status tells the outage");
    assert!(sends.failed > 0, "30 s are more than a send waits for");
}

/// This server listens before it has read what it kept, and says for a moment that the queue does not exist: that a send does
/// not try again for its caller, since a queue that was deleted says the same.
fn while_it_starts(error: &Error) -> bool {
    error.is_retriable() || error.kind() == ErrorKind::NotFound
}
