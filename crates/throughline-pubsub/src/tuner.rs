//! As many streams as it takes: one, and more while it is the bottleneck.

use crate::streams::Streams;
use std::{sync::Arc, time::Duration};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Fewer a second do not need another stream.
const BUSY: u64 = 200;
/// How many looks in a row have to find the worker hungry.
const HUNGRY: u32 = 2;
/// How many looks in a row without a message end all but the first stream.
const IDLE: u32 = 60;

/// Opens streams beside the first while messages come as fast as they can and the worker waits for more, and closes them
/// when none come.
pub(crate) async fn run(streams: Arc<Streams>, most: usize) {
    let mut helpers: Vec<Helper> = Vec::new();
    let (mut before, mut hungry, mut idle) = (0, 0, 0);
    let room = streams.desk.demand.free();
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = streams.stop.cancelled() => return,
            _ = look.tick() => {}
        }
        helpers.retain(|helper| !helper.ended.is_cancelled());
        let (received, nothing_waits) = streams.desk.received();
        let came = received - std::mem::replace(&mut before, received);
        let is_hungry = came >= BUSY && nothing_waits && streams.desk.demand.free() >= room / 2;
        hungry = if is_hungry { hungry + 1 } else { 0 };
        idle = if came == 0 { idle + 1 } else { 0 };
        if idle >= IDLE {
            helpers.clear();
        }
        if hungry >= HUNGRY {
            hungry = 0;
            let open = 1 + helpers.len();
            for _ in open..(2 * open).min(most) {
                helpers.push(Helper::start(&streams));
            }
        }
    }
}

/// A stream beside the first; dropped, it ends.
struct Helper {
    stop: CancellationToken,
    ended: CancellationToken,
}

impl Helper {
    fn start(streams: &Arc<Streams>) -> Self {
        let (stop, ended) = (streams.stop.child_token(), CancellationToken::new());
        let answers = &streams.desk.answers;
        let (running, end) = (streams.clone().helper(stop.clone()), ended.clone().drop_guard());
        let task = async move {
            let _end = end;
            running.await;
        };
        answers.tasks.spawn_on(task, &answers.handle);
        Helper { stop, ended }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
