//! A user's own actix actor as the handler, on a system of its own.

use crate::{
    Inbox, Site, Stage,
    steps::{named, note},
};
use actix::{Actor, ActorFutureExt, Addr, Handler, ResponseActFuture, System, WrapFuture};
use bytes::Bytes;
use std::{sync::mpsc, thread::JoinHandle};
use throughline::{
    BoxError, Message, Publisher, Worker,
    actor::{ActorService, Consume, Context},
    handler_with,
};
use throughline_test::Expect;

/// The actor publishes in the future that it answers with, and a second time in a future that it spawns: both sends
/// are below the message's process span.
pub async fn a_send_inside_an_actor_is_below_the_message<B: Site>(broker: &B) {
    let mut stage = Stage::new(broker);
    let (first, second) = (stage.topic(1).await, stage.topic(1).await);
    let (address, system) = start(Enricher { onward: stage.publisher(&second) });
    let (told, mut inbox) = Inbox::new();
    stage.spawn(Worker::new("first", stage.subscription(&first), move || {
        ActorService::<_, Bytes>::new(address.clone(), 8)
    }));
    stage.spawn(Worker::new("second", stage.subscription(&second), move || handler_with(told.clone(), note)));
    stage.publisher(&first).send(Message::new("1")).await.unwrap();
    inbox.take(2).await;
    let graph = stage.end().await;
    system.stop();

    let expect = Expect::new().spans(6).sends(3).process_spans(3).links(3).traces(4).components(1);
    graph.check(&expect).unwrap();
    let process = named(&graph, &format!("{} {first}", B::PROCESS))[0];
    for send in named(&graph, &format!("send {second}")) {
        assert_eq!(send.parent, Some(process.id));
    }
}

struct Enricher {
    onward: Publisher,
}

impl Actor for Enricher {
    type Context = Context<Self>;
}

impl Handler<Consume<Bytes>> for Enricher {
    type Result = ResponseActFuture<Self, Result<(), BoxError>>;

    fn handle(&mut self, Consume(payload): Consume<Bytes>, context: &mut Context<Self>) -> Self::Result {
        let (answered, spawned) = (self.onward.clone(), self.onward.clone());
        let copy = payload.clone();
        let beside = async move { spawned.send(Message::new(copy)).await };
        actix::AsyncContext::spawn(context, beside.into_actor(self).map(|sent, _, _| drop(sent.unwrap())));
        Box::pin(
            async move { answered.send(Message::new(payload)).await }
                .into_actor(self)
                .map(|sent, _, _| sent.map(drop)),
        )
    }
}

/// Stops the system and waits for its thread.
struct Running(System, JoinHandle<()>);

impl Running {
    fn stop(self) {
        self.0.stop();
        self.1.join().unwrap();
    }
}

fn start(actor: Enricher) -> (Addr<Enricher>, Running) {
    let (tell, told) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let runner = System::new();
        runner.block_on(async { tell.send((Context::start(actor), System::current())).unwrap() });
        runner.run().unwrap();
    });
    let (address, system) = told.recv().unwrap();
    (address, Running(system, thread))
}
