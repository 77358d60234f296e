//! The example `ai_pipeline` with its rows in a real PostgreSQL.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says that it failed by a panic")]

use throughline_test::read_spans;
use throughline_tests::pipeline::{Spans, Tied, assert_every_edge, command, summary};

/// A document without text, which is classed when it is replayed.
const ONE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/ai_pipeline/corpus/018.txt");

/// Two runs in one database: the second has its own rows alone, and replays its own dead letter.
#[test]
fn rows_are_those_of_one_run() {
    let server =
        std::env::var("THROUGHLINE_POSTGRES").expect("THROUGHLINE_POSTGRES has the address of a server");
    let database = format!("postgres://postgres@{server}/postgres");
    for (further, documents, dead_letters) in [(&[][..], 40, 3), (&["--replay", ONE], 1, 0)] {
        let spans = Spans::new();
        let output = command(&[&["--database", &database], further].concat(), &spans).output().unwrap();
        assert!(output.status.success(), "{output:#?}");
        let summary = summary(&output.stdout);
        assert_eq!((summary.documents, summary.dead_lettered), (documents, dead_letters), "{summary:?}");
        assert_eq!((summary.processed, summary.broken_edges), (documents - dead_letters, 0), "{summary:?}");
        let spans = read_spans(spans.folder()).unwrap();
        let inserts = spans.iter().filter(|span| span.name == "INSERT documents");
        let systems: Vec<_> = inserts.filter_map(|span| span.text("db.system.name")).collect();
        assert!(systems.len() >= summary.processed && systems.iter().all(|system| system == "postgresql"));
        if further.is_empty() {
            assert_every_edge(&spans, Tied::ByLink);
        }
    }
}
