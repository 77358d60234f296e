//! Owns the source: asks it, counts what comes against the demand, and passes it to the gate.

use crate::{control::Control, queue::Item};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use throughline_core::{DemandControl, Error, PartitionIndex, Source};
use throughline_trace::Telemetry;
use tokio::sync::mpsc;

/// How many deliveries go through the mailbox at once. The actor and the loop are asleep by the time that a pump has
/// made the next parcel, so each costs two wake-ups: at 64 these were a tenth of all CPU time of a Kafka worker that
/// catches up, which is handed some 200 at a time.
const PARCEL: usize = 512;

/// How often a span queue that is too full is looked at.
const QUEUE_LOOK: Duration = Duration::from_millis(5);

/// The way into a worker: its actor's mailbox.
pub(crate) trait Gate: Send + Sync + 'static {
    /// Passes a parcel on, or drops it, which gives its deliveries back.
    fn deliver(&self, parcel: Box<dyn Parcel>);
}

/// Deliveries on their way through the gate, which need not know their type.
pub(crate) trait Parcel: Send {
    /// Hands them to the loop they are for. If that is gone they are dropped, which gives them back.
    fn hand_over(self: Box<Self>);
}

struct Batch<Z> {
    items: Vec<Item<Z>>,
    to: mpsc::UnboundedSender<Vec<Item<Z>>>,
}

impl<Z: Send> Parcel for Batch<Z> {
    fn hand_over(self: Box<Self>) {
        // The mailbox and this channel have no bound of their own: room was taken before the pull.
        let _ = self.to.send(self.items);
    }
}

/// Pumps until the source has nothing more, because it was told to stop or because it ended.
///
/// The receive future is never dropped before it resolves: pause, drain and more room are said through the demand.
pub(crate) async fn pump<Src: Source>(
    source: &mut Src,
    demand: &DemandControl,
    control: &Control,
    telemetry: &Telemetry,
    gate: &Arc<dyn Gate>,
    to: mpsc::UnboundedSender<Vec<Item<Src::Settler>>>,
) -> Result<(), Error> {
    loop {
        // With the lossless setting a filling span queue holds up the intake here, and never a handler.
        while !telemetry.intake_open() && !control.is_draining() {
            tokio::time::sleep(QUEUE_LOOK).await;
        }
        let batch = source.receive().await?;
        if batch.is_empty() {
            return Ok(());
        }
        control.counts.received.fetch_add(batch.len() as u64, Ordering::Relaxed);
        let mut rest = batch.into_iter();
        while !rest.as_slice().is_empty() {
            let items: Vec<_> = rest.by_ref().take(PARCEL).map(Item::new).collect();
            take_room(demand, &items);
            gate.deliver(Box::new(Batch { items, to: to.clone() }));
        }
    }
}

/// One update of the demand for each run of one partition.
fn take_room<Z>(demand: &DemandControl, items: &[Item<Z>]) {
    let partition = |item: &Item<Z>| item.delivery.partition;
    for run in items.chunk_by(|a, b| partition(a) == partition(b)) {
        let bytes = run.iter().map(|item| item.size).sum();
        demand.take(run.first().map_or(PartitionIndex(0), partition), run.len(), bytes);
    }
}
