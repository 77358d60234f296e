//! The example `ai_pipeline` with its rows in a real PostgreSQL.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says that it failed by a panic")]

use throughline_test::read_spans;
use throughline_tests::pipeline::{Spans, Tied, assert_every_edge, command, summary};

/// Two runs in one database: each has its own rows, and the second replays its own dead letters.
#[test]
fn rows_are_those_of_one_run() {
    let server =
        std::env::var("THROUGHLINE_POSTGRES").expect("THROUGHLINE_POSTGRES has the address of a server");
    let database = format!("postgres://postgres@{server}/postgres");
    for (replay, done) in [(None, (37, 3)), (Some("--replay"), (40, 0))] {
        let spans = Spans::new();
        let arguments: Vec<_> = ["--database", &database].into_iter().chain(replay).collect();
        let output = command(&arguments, &spans).output().unwrap();
        assert!(output.status.success(), "{output:#?}");
        let summary = summary(&output.stdout);
        assert_eq!((summary.documents, summary.processed, summary.dead_lettered), (40, done.0, done.1));
        assert_eq!(summary.broken_edges, 0, "{summary:?}");
        let spans = read_spans(spans.folder()).unwrap();
        let inserts = spans.iter().filter(|span| span.name == "INSERT documents");
        let systems: Vec<_> = inserts.filter_map(|span| span.text("db.system.name")).collect();
        assert!(
            systems.len() >= done.0 && systems.iter().all(|system| system == "postgresql"),
            "{systems:?}"
        );
        if replay.is_none() {
            assert_every_edge(&spans, Tied::ByLink);
        }
    }
}
