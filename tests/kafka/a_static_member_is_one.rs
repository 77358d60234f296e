//! FC-04: the successor of a killed static member takes its place, and of two that live one ends, by itself and with a
//! word on why.

use std::{
    fs,
    sync::Mutex,
    time::{Duration, Instant},
};
use throughline::{Message, Worker, handler, kafka::Kafka};
use throughline_test::Demands;
use throughline_tests::{
    Stage, eventually,
    kafka::{Cluster, Crew},
    until,
};

const IDENTITY: &[&str] = &["--set", "group.instance.id=one"];
const CLASSIC: &[&str] = &["--set", "group.protocol=classic", "--set", "session.timeout.ms=6000"];
const NEWER: &[&str] = &["--set", "group.protocol=consumer"];
/// Of both: the test command's broker has 3 s for the newer protocol.
const SESSION: Duration = Duration::from_secs(6);
/// After that, until the successor consumes.
const GRACE: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_kill_the_next_one_consumes() {
    after_a_kill(CLASSIC).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_kill_the_next_one_consumes_under_the_newer_protocol() {
    after_a_kill(NEWER).await;
}

async fn after_a_kill(protocol: &[&str]) {
    let demands = Demands::new().ids(200).kills(1).duplicates_per_kill(100);
    let crew = Crew::gather(&Cluster::new(), "FC04", 2, demands).await;
    let options = [IDENTITY, protocol].concat();
    crew.publish_to_both(0..100).await;
    let first = crew.worker(&options);
    crew.wait_for_commits(100).await;
    crew.kill(first);
    let since = Instant::now();
    let next = crew.worker(&options);
    crew.publish_to_both(100..200).await;
    eventually("the next one consumes", || async { crew.finished_by(next.id()) }, |count| *count > 0).await;
    assert!(since.elapsed() < SESSION + GRACE, "{:?}", since.elapsed());
    crew.wait_for_commits(200).await;
    next.stop().await;
    crew.conclude();
}

/// Under the newer protocol a place is free only once the session of who was killed is over. Whoever waits for it tries again
/// and again, and is never ready on the way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_the_place_is_not_ready() {
    let demands = Demands::new().ids(100).kills(1).duplicates_per_kill(100);
    let crew = Crew::gather(&Cluster::new(), "FC04", 2, demands).await;
    crew.publish_to_both(0..100).await;
    let first = crew.worker(&[IDENTITY, NEWER].concat());
    crew.wait_for_commits(100).await;
    crew.kill(first);
    let mut stage = Stage::new(&crew.cluster);
    let kafka = Kafka::new(crew.cluster.servers()).set("group.protocol", "consumer");
    let subscription = kafka.group(&crew.topic).topic(&crew.topic).static_member("one");
    let next = stage.spawn(Worker::new("next", subscription, || handler(|_: Message| async {})));
    let seen = Mutex::new(vec![false]);
    until("it has the place", || {
        let status = next.status();
        let mut seen = seen.lock().unwrap();
        if seen.last() != Some(&status.is_ready()) {
            seen.push(status.is_ready());
        }
        assert!(status.is_live(), "{status:?}");
        // Of what it was given.
        status.lag.is_some()
    })
    .await;
    assert_eq!(*seen.lock().unwrap(), [false, true]);
    assert!(next.status().restarts > 0, "it was refused before");
    stage.drain().await;
    crew.conclude();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_that_live_the_older_ends() {
    // What the older read and could not commit is the younger's too.
    let crew = Crew::gather(&Cluster::new(), "FC04", 2, Demands::new().duplicates(10_000)).await;
    let log = crew.run.folder().join("older.log");
    let options = [IDENTITY, CLASSIC].concat();
    let older = crew.worker(&[&options[..], &["--log", log.to_str().unwrap()]].concat());
    crew.publish_to_both(0..100).await;
    crew.wait_for_commits(100).await;
    let younger = crew.worker(&options);
    let mut next = 100;
    while crew.finished_by(younger.id()) == 0 {
        crew.publish_to_both(next..next + 1).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        next += 1;
        assert!(next < 10_000, "the younger never begins");
    }
    // The broker tells the older at a commit.
    crew.publish_to_both(next..next + 100).await;
    let ended = older.ended().await;
    assert!(!ended.status.success(), "{ended:?}");
    assert!(ended.after < SESSION + GRACE, "{ended:?}");
    let log = fs::read_to_string(log).unwrap();
    let of_it = |line: &&str| line.contains("group.instance.id");
    assert!(log.lines().filter(of_it).any(|line| line.contains("gave up")), "{log}");
    assert!(!log.contains("start again"), "it would take the identity back, and so on for ever: {log}");
    crew.wait_for_commits(next + 100).await;
    younger.stop().await;
    crew.conclude();
}
