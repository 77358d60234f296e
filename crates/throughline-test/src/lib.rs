//! Test kit of Throughline: what its own guarantees are shown with, for your own adapters and pipelines.
//!
//! | part | what it shows |
//! |---|---|
//! | [`Graph`] | over *exported* spans: every parent and link resolves, one process span a delivery, and as many spans as the run must have |
//! | [`FileExporter`], [`read_spans`] | the same over several processes, also killed ones |
//! | [`StartedSpans`], [`unfinished_spans`] | which spans died with their process |
//! | [`Measures`] | the metrics that were exported, read back |
//! | [`Ledger`], [`check`], [`entries`] | over what was produced, handled and committed: lost, duplicated, reordered, committed past an open message |

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
