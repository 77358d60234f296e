//! G2: only the contiguous completed prefix is committed.

use crate::{
    Inbox, Run, Site, Stage, Told, eventually,
    steps::{number, place},
    until,
};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use throughline::{BoxError, Message, Ordering, Redelay, State, Worker, handler_with};
use throughline_test::{Demands, Entry, Ev, Expect};

/// Offsets 0 to 9, offset 2 fails, the rest succeed: exactly 2 is committed, and offset 2 comes again after a restart.
pub async fn one_failure_among_ten_holds_the_commit<B: Site>(broker: &B) {
    let again = fail_and_restart(broker, 10, &[2]).await;
    assert!(again.contains(&2) && again.iter().all(|offset| (2..10).contains(offset)), "{again:?}");
}

/// A, B and D are acknowledged, C and E fail: after a restart C and E come again, and D, which was done beyond C.
pub async fn what_failed_comes_again_after_a_restart<B: Site>(broker: &B) {
    let again = fail_and_restart(broker, 5, &[2, 4]).await;
    assert_eq!(again, [2, 3, 4]);
}

/// Handles so many messages, of which some fail; waits for the commit; stops; and gives what comes afterwards.
async fn fail_and_restart<B: Site>(broker: &B, messages: u64, failing: &'static [u64]) -> Vec<u64> {
    let first = failing[0] as i64;
    // Whatever was done beyond the first failure may be done twice.
    let run = Run::begin(broker, "G2", Demands::new().ids(messages).commits().duplicates(messages));
    let mut stage = Stage::new(broker);
    let topic = stage.topic(1).await;
    let group = Stage::<B>::group(&topic);
    let publisher = stage.publisher(&topic);
    for id in 0..messages {
        let receipt = publisher.send(Message::new(id.to_string())).await.unwrap();
        let (partition, offset) = (receipt.partition.unwrap(), receipt.offset.unwrap());
        assert_eq!(offset, id as i64);
        run.record(Entry::new(Ev::Produced, id).at(partition, offset));
    }
    let (told, mut inbox) = Inbox::new();
    let spawn = |stage: &mut Stage<'_, B>, failing: &[u64]| {
        let state = (told.clone(), run.clone(), Arc::new(failing.iter().copied().collect::<BTreeSet<_>>()));
        let worker =
            Worker::new("w", stage.subscription(&topic), move || handler_with(state.clone(), handle));
        // So long that nothing comes again before the stop.
        let redelay = Redelay::exponential(Duration::from_secs(300), Duration::from_secs(300));
        stage.spawn(worker.ordering(Ordering::None).redelay(redelay))
    };
    let handle = spawn(&mut stage, failing);
    inbox.take(messages as usize).await;
    let done = messages - failing.len() as u64;
    until("the rest is acknowledged", || handle.status().counts.acked == done).await;
    let committed = || broker.committed(&topic, &group);
    eventually("the prefix is committed", committed, |at| at.get(&0) == Some(&first)).await;
    run.record(Entry::committed(0, first));
    stage.drain().await;
    assert_eq!(committed().await.get(&0), Some(&first), "also after the drain");

    spawn(&mut stage, &[]);
    let mut again =
        inbox.take(messages as usize - first as usize).await.iter().map(number).collect::<Vec<_>>();
    eventually("everything is committed", committed, |at| at.get(&0) == Some(&(messages as i64))).await;
    run.record(Entry::committed(0, messages as i64));
    assert!(inbox.is_empty());
    let graph = stage.end().await;
    let all = messages as usize;
    let twice = again.len();
    let expect = Expect::new().sends(all).process_spans(all + twice).redeliveries(twice).components(all);
    graph.check(&expect).unwrap();
    run.conclude();
    again.sort_unstable();
    again
}

async fn handle(
    message: Message,
    State((told, run, failing)): State<(Told, Run, Arc<BTreeSet<u64>>)>,
) -> Result<(), BoxError> {
    let id = number(&message);
    let (partition, offset) = place(&message);
    run.record(Entry::new(Ev::Started, id).at(partition, offset));
    // In another order than they came in.
    tokio::time::sleep(Duration::from_millis(id % 3)).await;
    let failed = failing.contains(&id);
    run.record(Entry::new(if failed { Ev::Failed } else { Ev::Finished }, id));
    told.tell(message);
    if failed { Err("fails".into()) } else { Ok(()) }
}
