//! G6: the server is frozen on the way. It is not killed, since it keeps nothing: that it loses what it acknowledged would be
//! no fault of ours.

use crate::site::Project;
use throughline::Error;
use throughline_tests::{WorkerProcess, an_outage_heals::nothing_is_lost_and_every_failed_send_is_told};
use tokio::task::block_in_place;
use xtask::OwnPubSub;

/// The leases of what two workers held ran out while the server stood still, and so did their answers: in flight, read ahead,
/// and not confirmed.
const DUPLICATES: u64 = 2 * 2 * (64 + 64 + 1_000);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_server_heals() {
    let server = block_in_place(OwnPubSub::start).unwrap();
    nothing_is_lost_and_every_failed_send_is_told(
        &Project::at(&server.address()),
        DUPLICATES,
        |stage, topic| stage.subscription(topic),
        |topic, ledger| {
            let subscription = Project::subscription_of(topic);
            let words = [server.address(), subscription, ledger.to_str().unwrap().to_owned()];
            WorkerProcess::start("pubsub_worker", &words)
        },
        |on| if on { server.thaw() } else { server.freeze() },
        Error::is_retriable,
    )
    .await;
}
