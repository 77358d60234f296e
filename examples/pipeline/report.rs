//! What came of it, checked over the exported spans.

use crate::args::Role;
use serde::Serialize;
use std::fmt;
use throughline_test::{Expect, Graph, Kind, SpanRecord, SpanRef};

/// The end of a run.
pub(crate) struct Report {
    role: Role,
    totals: Totals,
    graph: throughline_test::Report,
    tree: String,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) documents: usize,
    pub(crate) processed: usize,
    pub(crate) dead_lettered: usize,
}

impl Report {
    pub(crate) fn new(role: Role, totals: Totals, spans: Vec<SpanRecord>) -> Self {
        // A process that has one role of several does not see the other ends of its edges.
        let foreign = if role == Role::All { Vec::new() } else { ends_elsewhere(&spans) };
        let graph = foreign.into_iter().fold(Graph::new(spans), Graph::external);
        let expect = match role {
            // One connected piece a document: from its publisher to the store or to the dead letters. What came again
            // has a process span each time.
            Role::All => Expect::new()
                .components(totals.documents)
                .sends(totals.documents + totals.processed + totals.dead_lettered..)
                .process_spans(totals.documents + totals.processed..)
                .redeliveries(0..),
            _ => Expect::new().redeliveries(0..),
        };
        let tree = example(&graph).map(|root| graph.tree(root)).unwrap_or_default();
        Report { role, totals, graph: graph.report(&expect), tree }
    }

    pub(crate) fn lost(&self) -> usize {
        match self.role {
            Role::All => {
                self.totals.documents.saturating_sub(self.totals.processed + self.totals.dead_lettered)
            }
            _ => 0,
        }
    }

    /// Whether no document was lost and no edge is broken.
    pub(crate) fn is_whole(&self) -> bool {
        self.lost() == 0 && self.graph.is_ok()
    }

    /// One line, its fields in the order that the documentation shows.
    pub(crate) fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string(&Summary {
            documents: self.totals.documents,
            processed: self.totals.processed,
            dead_lettered: self.totals.dead_lettered,
            spans: self.graph.spans,
            links: self.graph.links,
            traces: self.graph.traces,
            broken_edges: self.graph.broken_edges.len() + self.graph.unmet.len(),
        })
    }
}

#[derive(Serialize)]
struct Summary {
    documents: usize,
    processed: usize,
    dead_lettered: usize,
    spans: usize,
    links: usize,
    traces: usize,
    broken_edges: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Totals { documents, processed, dead_lettered } = self.totals;
        if !self.tree.is_empty() {
            writeln!(f, "\none document's way (\u{21aa} follows a link into another trace):\n{}", self.tree)?;
        }
        writeln!(
            f,
            "{documents} documents, {processed} processed, {dead_lettered} dead letters, {} lost",
            self.lost()
        )?;
        writeln!(f, "{}", self.graph)
    }
}

/// A document that was tried more than once, if there is one: its tree shows most.
fn example(graph: &Graph) -> Option<SpanRef> {
    let tried_again = graph.spans().iter().find(|span| span.name.starts_with("attempt"));
    let any = || graph.spans().iter().find(|span| span.kind == Kind::Consumer);
    tried_again.or_else(any).or_else(|| graph.spans().first()).map(|span| graph.origin(span.id))
}

fn ends_elsewhere(spans: &[SpanRecord]) -> Vec<SpanRef> {
    let own: std::collections::HashSet<_> = spans.iter().map(|span| span.id).collect();
    let ends = spans.iter().flat_map(|span| span.links.iter().map(|link| link.to).chain(span.parent));
    ends.filter(|end| !own.contains(end)).collect()
}
