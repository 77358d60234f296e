//! Test kit of Throughline: what its own guarantees are shown with, for your own adapters and pipelines.
//!
//! | part | what it shows |
//! |---|---|
//! | [`Graph`] | over *exported* spans: every parent and link resolves, one process span a delivery, and as many spans as the run must have |
//! | [`FileExporter`], [`read_spans`] | the same over several processes, also killed ones |
//! | [`StartedSpans`], [`unfinished_spans`] | which spans died with their process |
//! | [`Measures`] | the metrics that were exported, read back |
//! | [`Ledger`], [`check`], [`entries`] | over what was produced, handled and committed: lost, duplicated, reordered, committed past an open message |
//! | [`fault`] | layers that fail, panic or stall on purpose |
//! | [`conformance`](mod@conformance) | one suite for every broker adapter |
//!
//! ```
//! use throughline_test::{Expect, Graph};
//!
//! // In a test: `Graph::new(spans.get_finished_spans()?)`, of an `InMemorySpanExporter` that the telemetry exports to.
//! let graph = Graph::default();
//! let broken = graph.check(&Expect::new().process_spans(1)).unwrap_err();
//! assert!(broken.to_string().contains("0 process spans, must be exactly 1"));
//! assert_eq!(format!("{broken:?}"), broken.to_string()); // what a failed test prints
//! ```
//!
//! A whole test of a worker is the example `test_your_worker` of the repository.
//!
//! Being a test kit, it panics where an ordinary library would answer with an error: in the cases of
//! [`conformance`](mod@conformance) and in the services of [`fault`], and nowhere else.

pub mod conformance;
pub mod fault;
mod graph;
mod ledger;
mod lines;
mod measures;

pub use graph::{
    Broken, Count, Edge, Expect, Fault, FileExporter, Graph, Kind, LinkRecord, Outcome, Report, SpanRecord,
    SpanRef, StartedSpans, read_spans, unfinished_spans,
};
pub use ledger::{Demands, Entry, Ev, Ledger, Meta, Row, check, entries};
pub use measures::{Measure, Measures};
