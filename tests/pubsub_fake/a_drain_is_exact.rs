//! G4 where acknowledgements are confirmed, which no other server shows.

use crate::{fake::Script, site::Own};
use throughline_tests::{
    a_drain_loses_nothing::a_stop_in_the_middle_is_exact,
    pause_is_not_shutdown::a_running_handler_keeps_its_message_while_paused,
};

/// Stopped in the middle, each message is handled once and its acknowledgement is taken once; none is refused, and no lease
/// runs out but of what was on its way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_message_is_acknowledged_once() {
    for exactly_once in [false, true] {
        let broker = Own::start(Script { exactly_once, ..Script::default() }).await;
        a_stop_in_the_middle_is_exact(&broker).await;
        let mut acked = broker.acked();
        let all = acked.len();
        acked.sort();
        acked.dedup();
        assert_eq!((acked.len(), broker.held()), (all, (0, 0)), "exactly once: {exactly_once}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_keeps_what_runs() {
    let broker = Own::start(Script { exactly_once: true, ..Script::default() }).await;
    a_running_handler_keeps_its_message_while_paused(&broker).await;
    assert_eq!(broker.acked(), ["1", "2"]);
}
