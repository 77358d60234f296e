//! The example `ai_pipeline` over SQS, Pub/Sub and Kafka, each role a process of its own: the same picture, also when
//! roles are killed on the way.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says that it failed by a panic")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "what happens is shown")]

use std::{
    collections::HashMap,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};
use throughline_test::{Kind, read_spans, unfinished_spans};
use throughline_tests::pipeline::{Spans, Summary, Tied, assert_every_edge, command, summary};

const CORPUS: usize = 40;
const UNCLASSIFIABLE: usize = 3;

#[test]
fn every_hop_is_a_link() {
    let spans = Spans::new();
    let summary = run(&["--brokers", "real"], &spans);
    assert_eq!((summary.processed, summary.dead_lettered), (CORPUS - UNCLASSIFIABLE, UNCLASSIFIABLE));
    assert_every_edge(&read_spans(spans.folder()).unwrap(), Tied::ByLink);
}

#[test]
fn with_parents_as_well_a_document_is_one_trace() {
    let spans = Spans::new();
    let summary = run(&["--brokers", "real", "--relation", "parent-and-link"], &spans);
    assert_eq!(summary.traces, CORPUS);
    assert_every_edge(&read_spans(spans.folder()).unwrap(), Tied::ByParentAndLink);
}

fn run(arguments: &[&str], spans: &Spans) -> Summary {
    let output = command(arguments, spans).output().unwrap();
    assert!(output.status.success(), "{output:#?}");
    let summary = summary(&output.stdout);
    assert_eq!((summary.documents, summary.broken_edges), (CORPUS, 0), "{summary:?}");
    summary
}

/// What a killed role may have done without anybody knowing: its 16 handlers and what waits for them, at the first hop;
/// and what of that is done again behind it.
const DUPLICATES_PER_KILL: usize = 200;

#[test]
fn a_role_killed_ten_times_loses_no_document_and_breaks_no_edge() {
    const KILLS: usize = 10;
    const TIMES: usize = 50;
    let spans = Spans::new();
    let mut running = command(&["--brokers", "real", "--repeat", "50"], &spans)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let roles = Arc::new(Mutex::new(Roles::default()));
    let (seen, stderr) = (roles.clone(), running.stderr.take().unwrap());
    let reader = thread::spawn(move || {
        for line in BufReader::new(stderr).lines() {
            let line = line.unwrap();
            eprintln!("{line}");
            seen.lock().unwrap().see(&line);
        }
    });
    let mut killed = 0;
    while killed < KILLS {
        let since = Instant::now();
        // At a random moment, once every role is there and something was stored since the last time.
        let stored = killed * TIMES * CORPUS / (2 * KILLS);
        while !roles.lock().unwrap().are_up(stored) {
            assert!(running.try_wait().unwrap().is_none(), "it ended after {killed} kills");
            assert!(since.elapsed() < Duration::from_secs(300), "nothing is stored after {killed} kills");
            thread::sleep(Duration::from_millis(20));
        }
        thread::sleep(Duration::from_millis(fastrand::u64(0..300)));
        let (role, process) = roles.lock().unwrap().any();
        eprintln!("kills {role}, process {process}");
        killed += usize::from(
            Command::new("kill").args(["-KILL", &process.to_string()]).status().unwrap().success(),
        );
    }
    let output = running.wait_with_output().unwrap();
    reader.join().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let summary = summary(&output.stdout);
    assert_eq!((summary.documents, summary.broken_edges), (TIMES * CORPUS, 0), "{summary:?}");
    assert_eq!(summary.processed, TIMES * (CORPUS - UNCLASSIFIABLE));
    assert_eq!(summary.dead_lettered, TIMES * UNCLASSIFIABLE);

    let died = unfinished_spans(spans.folder()).unwrap().len();
    let all = read_spans(spans.folder()).unwrap();
    let handled = all.iter().filter(|span| span.kind == Kind::Consumer).count();
    let once = TIMES * (3 * CORPUS - UNCLASSIFIABLE);
    let duplicates = handled.saturating_sub(once);
    println!(
        "{KILLS} kills among {} documents: {duplicates} handled again, {died} spans died",
        TIMES * CORPUS
    );
    assert!(duplicates <= KILLS * DUPLICATES_PER_KILL, "{duplicates} handled again");
}

/// What the program says of its processes, and of how far it is.
#[derive(Debug, Default)]
struct Roles {
    processes: HashMap<String, u32>,
    stored: usize,
}

impl Roles {
    fn see(&mut self, line: &str) {
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            [role, "is", "process", id] => drop(self.processes.insert(role.to_owned(), id.parse().unwrap())),
            [role, "ended:", ..] => drop(self.processes.remove(role)),
            [stored, "of", _, "stored,", ..] => self.stored = stored.parse().unwrap(),
            _ => {}
        }
    }

    fn are_up(&self, stored: usize) -> bool {
        self.processes.len() == 6 && self.stored >= stored
    }

    fn any(&self) -> (String, u32) {
        let roles: Vec<_> = self.processes.iter().collect();
        let (role, process) = roles[fastrand::usize(..roles.len())];
        (role.clone(), *process)
    }
}
