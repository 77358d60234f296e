//! B13: what a message costs in calls, at saturation and at rest.

use crate::site::{Account, config};
use aws_sdk_sqs::{
    Client,
    config::{ConfigBag, Intercept, RuntimeComponents, interceptors::BeforeTransmitInterceptorContextRef},
    error::BoxError,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use throughline::{Message, Worker, handler, sqs::Sqs};
use throughline_tests::{Stage, until};

/// Counts the calls of a client by their action.
#[derive(Clone, Debug, Default)]
struct Count(Arc<Mutex<BTreeMap<String, usize>>>);

impl Intercept for Count {
    fn name(&self) -> &'static str {
        "count"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let action = context.request().headers().get("x-amz-target").unwrap_or_default();
        *self.0.lock().unwrap().entry(action.rsplit('.').next().unwrap().to_owned()).or_default() += 1;
        Ok(())
    }
}

impl Count {
    fn of(&self, action: &str) -> usize {
        self.0.lock().unwrap().get(action).copied().unwrap_or_default()
    }

    fn all(&self) -> usize {
        self.0.lock().unwrap().values().sum()
    }
}

/// A full queue: at most 0.11 deletes and 0.22 calls a message.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_costs_a_fifth_of_a_call_a_message() {
    const MESSAGES: usize = 5_000;
    let (broker, count) = (Account::new(), Count::default());
    let mut stage = Stage::new(&broker);
    let queue = stage.topic(1).await;
    let messages = (0..MESSAGES).map(|n| Message::new(n.to_string()));
    assert!(stage.publisher(&queue).send_all(messages).await.iter().all(Result::is_ok));
    let sqs = Sqs::from_client(Client::from_conf(config().interceptor(count.clone()).build()));
    let subscription = sqs.subscribe(&queue).wait(Duration::from_secs(1));
    let worker = Worker::new("w", subscription, || {
        handler(|_: Message| async { tokio::time::sleep(Duration::from_millis(2)).await }) // the work
    });
    let handle = stage.spawn(worker.in_flight(64));
    until("all are done", || handle.status().counts.acked == MESSAGES as u64).await;
    let (deletes, all) = (count.of("DeleteMessageBatch"), count.all());
    stage.end().await;
    let each = |calls: usize| calls as f64 / MESSAGES as f64;
    println!(
        "{:.3} deletes and {:.3} calls a message: {:?}",
        each(deletes),
        each(all),
        count.0.lock().unwrap()
    );
    assert!(each(deletes) <= 0.11, "{deletes} deletes");
    assert!(each(all) <= 0.22, "{all} calls");
    assert_eq!(broker.counts(&queue).await, [0; 3]);
}

/// A quiet queue: one poll is open, whatever there was before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quiet_queue_costs_one_poll() {
    let (broker, count) = (Account::new(), Count::default());
    let mut stage = Stage::new(&broker);
    let queue = stage.topic(1).await;
    let messages = (0..500).map(|n| Message::new(n.to_string()));
    assert!(stage.publisher(&queue).send_all(messages).await.iter().all(Result::is_ok));
    let sqs = Sqs::from_client(Client::from_conf(config().interceptor(count.clone()).build()));
    let subscription = sqs.subscribe(&queue).wait(Duration::from_secs(1));
    let handle =
        stage.spawn(Worker::new("w", subscription, || handler(|_: Message| async {})).in_flight(256));
    until("all are done", || handle.status().counts.acked == 500).await;
    // Long enough for the polls of the rush to end; then how many there are in a while is what is shown.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let before = count.of("ReceiveMessage");
    tokio::time::sleep(Duration::from_secs(5)).await;
    let polls = count.of("ReceiveMessage") - before;
    assert!((3..=6).contains(&polls), "{polls} polls of a second in five seconds");
    stage.end().await;
}
