//! FC-16: a group that was away for longer than its broker keeps offsets begins as it is told to, and says so; one that is
//! there and has nothing to do keeps its place.

use std::{fs, path::Path, time::Duration};
use throughline_test::Demands;
use throughline_tests::{
    eventually,
    kafka::{Cluster, Crew},
};
use tokio::task::block_in_place;
use xtask::OwnKafka;

/// The shortest that a broker can be told to keep offsets for.
const KEPT: Duration = Duration::from_secs(60);

/// One test for all of it: it waits a minute.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn and_no_group_begins_anew_without_a_word() {
    let builder = OwnKafka::builder().property("offsets.retention.minutes", "1");
    let builder = builder.property("offsets.retention.check.interval.ms", "1000");
    let broker = block_in_place(|| builder.start()).unwrap();
    let cluster = Cluster::at(broker.address());
    // All ten of the group that was away come again.
    let away = Crew::gather(&cluster, "FC16", 2, Demands::new().ids(15).duplicates(10)).await;
    let idle = Crew::gather(&cluster, "FC16", 2, Demands::new().ids(15).duplicates(0)).await;
    let log = |name: &str| idle.run.folder().join(name);
    let (worker, waiting) = (away.worker(&[]), idle.worker(&["--log", path(&log("idle.log"))]));
    for crew in [&away, &idle] {
        crew.publish_to_both(0..10).await;
        crew.wait_for_commits(10).await;
    }
    worker.stop().await;
    tokio::time::sleep(KEPT).await;
    let committed = || away.committed();
    eventually("the broker has forgotten the group", committed, |offsets| offsets.is_empty()).await;
    assert_eq!(idle.committed().await.values().sum::<i64>(), 10, "one that is there keeps its place");

    away.publish_to_both(10..15).await;
    // One that takes no other place says which it lacks, and leaves the group as it is.
    let strict = log("strict.log");
    let options = ["--set", "auto.offset.reset=error", "--log", path(&strict)];
    let worker = away.worker(&options);
    let error = about_offsets(&strict, &away.topic).await;
    assert!(error[0].contains("Committed"), "{error:?}");
    worker.end().await;
    assert!(away.committed().await.is_empty());
    // One that begins where it is set to says it once.
    let anew = log("anew.log");
    let worker = away.worker(&["--log", path(&anew)]);
    away.wait_for_commits(15).await;
    worker.stop().await;
    assert_eq!(about_offsets(&anew, &away.topic).await.len(), 1);
    away.conclude();

    idle.publish_to_both(10..15).await;
    idle.wait_for_commits(15).await;
    waiting.stop().await;
    assert_eq!(about_offsets(&log("idle.log"), &idle.topic).await.len(), 1, "when it was new");
    idle.conclude();
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The lines of this log on offsets that are not there, at least one; each names the group and both partitions.
async fn about_offsets(log: &Path, group: &str) -> Vec<String> {
    let lines = || async {
        let log = fs::read_to_string(log).unwrap_or_default();
        log.lines().filter(|line| line.contains("no committed offset")).map(str::to_owned).collect()
    };
    let lines: Vec<String> = eventually("a word", lines, |lines: &Vec<String>| !lines.is_empty()).await;
    // The group has the name of its topic.
    let partitions = [format!("{group}/0"), format!("{group}/1")];
    for line in &lines {
        assert!(partitions.iter().all(|partition| line.contains(partition)), "{line}");
        let rest = partitions.iter().fold(line.clone(), |line, partition| line.replace(partition, ""));
        assert!(rest.contains(group), "{line}");
    }
    lines
}
