//! FC-37: a stream that dies without a word.

use crate::{fake::Script, note, site::Own, text};
use std::time::{Duration, Instant};
use throughline::{Worker, handler_with};
use throughline_tests::{Inbox, Stage, until};

/// Three messages come and then nothing, no answer to a keep-alive either, on a connection that stays open: the stream is
/// opened anew within a minute, and that is told. One that is idle on a server that answers stays as it is; on a server
/// that never does, nothing tells the two apart, and it is opened anew once in several minutes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_stream_is_left_and_an_idle_one_is_not() {
    let silent = Own::start(Script::default()).await;
    let idle = Own::start(Script::default()).await;
    let mute = Own::start(Script { answers_keep_alives: false, ..Script::default() }).await;
    let mut stages = Vec::new();
    let mut watched = Vec::new();
    for broker in [&silent, &idle, &mute] {
        let mut stage = Stage::new(broker);
        let (told, inbox) = Inbox::new();
        let stack = move || handler_with(told.clone(), note);
        let handle = stage.spawn(Worker::new("w", stage.subscription("t"), stack));
        broker.put(1..=3);
        stages.push(stage);
        watched.push((inbox, handle));
    }
    for (inbox, _) in &mut watched {
        inbox.take(3).await;
    }
    let since = Instant::now();
    silent.silence();
    silent.put(4..=6);
    let again = watched[0].0.take(3).await;
    let took = since.elapsed();
    assert!(took < Duration::from_secs(60), "after {took:?}");
    assert_eq!(again.iter().map(text).collect::<Vec<_>>(), ["4", "5", "6"]);
    until("it is back", || !watched[0].1.status().reconnecting).await;
    assert_eq!(silent.streams().len(), 2);
    assert_eq!(idle.streams().len(), 1, "an idle stream was left");
    assert!(mute.streams().len() <= 2, "an idle stream was left more than once");
    for (broker, (mut inbox, _)) in [&silent, &idle, &mute].into_iter().zip(watched) {
        broker.put([7]);
        assert_eq!(text(&inbox.next().await), "7");
    }
    for stage in stages {
        stage.end().await;
    }
}
