//! The span graph: what was exported, whether it closes, and how it reads.

mod delivery;
mod edge;
mod expect;
mod exporter;
mod names;
mod record;
mod report;
mod rules;
mod span_graph;
mod started;
mod tree;

#[cfg(test)]
mod tests;

pub use edge::{Edge, Fault};
pub use expect::{Count, Expect};
pub use exporter::{FileExporter, read_spans};
pub use record::{Kind, LinkRecord, Outcome, SpanRecord, SpanRef};
pub use report::{Broken, Report};
pub use span_graph::Graph;
pub use started::{StartedSpans, unfinished_spans};
