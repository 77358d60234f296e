//! One partition, key or handler that is stuck.

use crate::{Inbox, Site, Stage, Told, steps::text, within};
use throughline::{Message, Ordering, State, Worker, handler_with};
use throughline_test::{
    Expect,
    fault::{Gate, StallLayer},
};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

/// More than all permits and the buffer take.
const STUCK: usize = 200;
const OTHERS: usize = 100;
const PARTITIONS: i32 = 4;

/// Every message of one partition is stuck, and there are more of them than the worker may hold: the other partitions
/// are handled to their ends.
pub async fn a_stuck_partition_stops_no_other<B: Site>(broker: &B) {
    for ordering in [Ordering::Partition, Ordering::None] {
        let stuck = (0..STUCK).map(|_| Message::new("stuck").with_partition(0));
        let others =
            (0..OTHERS).map(|n| Message::new("fine").with_partition(1 + n as i32 % (PARTITIONS - 1)));
        run(broker, ordering, stuck.chain(others).collect()).await;
    }
}

/// Every message of one key is stuck, and others of its partition are behind them.
pub async fn a_stuck_key_stops_no_other<B: Site>(broker: &B) {
    // As many as fit into the buffer: the order of the log is kept, so what is behind them can come in.
    let stuck = (0..10).map(|_| Message::new("stuck").with_key("stuck").with_partition(0));
    let others = (0..OTHERS).map(|n| Message::new("fine").with_key(n.to_string()).with_partition(0));
    run(broker, Ordering::Key, stuck.chain(others).collect()).await;
}

/// One handler is stuck, and nothing is ordered.
pub async fn a_stuck_handler_stops_no_other<B: Site>(broker: &B) {
    let others = (0..OTHERS).map(|_| Message::new("fine").with_partition(0));
    run(
        broker,
        Ordering::None,
        std::iter::once(Message::new("stuck").with_partition(0)).chain(others).collect(),
    )
    .await;
}

async fn run<B: Site>(broker: &B, ordering: Ordering, messages: Vec<Message>) {
    let mut stage = Stage::new(broker);
    let topic = stage.topic(PARTITIONS as u32).await;
    let (told, mut inbox) = Inbox::new();
    let (stall, gate) = StallLayer::new();
    let state = (told, stall);
    let stack = move || ServiceBuilder::new().service(handler_with(state.clone(), stick));
    let worker = Worker::new("w", stage.subscription(&topic), stack).in_flight(8).ordering(ordering);
    stage.spawn(worker);
    let total = messages.len();
    let stuck = messages.iter().filter(|message| text(message) == "stuck").count();
    assert!(stage.publisher(&topic).send_all(messages).await.iter().all(Result::is_ok));
    within("one is stuck", gate.until_held(1)).await;
    let fine = inbox.take(OTHERS).await;
    assert!(fine.iter().all(|message| text(message) == "fine"));
    let_go(&gate, &mut inbox, stuck).await;
    let graph = stage.end().await;
    graph.check(&Expect::new().sends(total).process_spans(total).components(total)).unwrap();
}

async fn let_go(gate: &Gate, inbox: &mut Inbox, stuck: usize) {
    assert!(inbox.is_empty());
    gate.open();
    inbox.take(stuck).await;
}

async fn stick(message: Message, State((told, stall)): State<(Told, StallLayer)>) {
    if text(&message) == "stuck" {
        let held = service_fn(|()| async { Ok::<_, std::convert::Infallible>(()) });
        let mut held = tower::Layer::layer(&stall, held);
        let Ok(()) = held.ready().await.unwrap().call(()).await;
    }
    told.tell(message);
}
