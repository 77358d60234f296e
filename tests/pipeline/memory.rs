//! The example `ai_pipeline` on the embedded broker: everything arrives, and every span hangs where it must.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says that it failed by a panic")]

use throughline_test::read_spans;
use throughline_tests::pipeline::{Spans, Summary, Tied, assert_every_edge, command, summary};

/// The corpus has 40 documents, and three of them cannot be classified.
const DOCUMENTS: usize = 40;
const UNCLASSIFIABLE: usize = 3;

fn run(arguments: &[&str], spans: &Spans) -> Summary {
    let output = command(arguments, spans).output().unwrap();
    assert!(output.status.success(), "{output:#?}");
    let summary = summary(&output.stdout);
    assert_eq!((summary.documents, summary.broken_edges), (DOCUMENTS, 0), "{summary:?}");
    summary
}

#[test]
fn every_hop_is_a_link() {
    let spans = Spans::new();
    let summary = run(&[], &spans);
    assert_eq!((summary.processed, summary.dead_lettered), (DOCUMENTS - UNCLASSIFIABLE, UNCLASSIFIABLE));
    // A trace for the client, and one for each hop.
    assert_eq!(summary.traces, DOCUMENTS + DOCUMENTS + 2 * (DOCUMENTS - UNCLASSIFIABLE) + UNCLASSIFIABLE);
    assert_every_edge(&read_spans(spans.folder()).unwrap(), Tied::ByLink);
}

#[test]
fn with_parents_as_well_a_document_is_one_trace() {
    let spans = Spans::new();
    let summary = run(&["--relation", "parent-and-link"], &spans);
    assert_eq!(summary.traces, DOCUMENTS);
    assert_every_edge(&read_spans(spans.folder()).unwrap(), Tied::ByParentAndLink);
}

#[test]
fn dead_letters_are_replayed_into_the_same_picture() {
    let summary = run(&["--replay"], &Spans::new());
    assert_eq!((summary.processed, summary.dead_lettered), (DOCUMENTS, 0));
}
