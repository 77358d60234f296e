//! What the checker found.

use super::Edge;
use std::{error::Error, fmt};

/// How many broken edges are written out.
const SHOWN: usize = 20;

/// What a graph has, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Exported spans, but for those of settlements.
    pub spans: usize,
    /// Spans of settlements, which count in nothing else here: a broker has as many as its batches are, and one over
    /// several messages ties together what is apart. Their links have to resolve all the same.
    pub settles: usize,
    /// Of these, CONSUMER spans.
    pub process_spans: usize,
    /// Deliveries that these cover: one each, but for those over a batch.
    pub deliveries: usize,
    /// Spans of the operation `send`.
    pub sends: usize,
    /// Second and later tries.
    pub attempts: usize,
    /// Links, of all spans.
    pub links: usize,
    /// Distinct trace ids.
    pub traces: usize,
    /// Connected pieces over parents and links.
    pub components: usize,
    /// Process spans beyond the first for what looks like the same delivery.
    pub redeliveries: usize,
    /// Messages that came without a usable context.
    pub without_context: usize,
    /// Process spans that say nothing by which their delivery could be told from another.
    pub unidentified: usize,
    /// What is wrong with single spans.
    pub broken_edges: Vec<Edge>,
    /// What is not there as often as it must be, in words.
    pub unmet: Vec<String>,
}

/// The error of [`Graph::check`](super::Graph::check). Reads the same by `{}` and by `{:?}`, since a test shows it by the
/// second.
#[derive(Clone)]
pub struct Broken(pub(super) Box<Report>);

impl Report {
    /// Whether every edge is whole and every count as it must be.
    pub fn is_ok(&self) -> bool {
        self.broken_edges.is_empty() && self.unmet.is_empty()
    }
}

impl Broken {
    /// Everything that was found.
    pub fn report(&self) -> &Report {
        &self.0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} spans ({} process, {} send, {} attempt), {} links, {} traces, {} components, {} broken edges",
            self.spans,
            self.process_spans,
            self.sends,
            self.attempts,
            self.links,
            self.traces,
            self.components,
            self.broken_edges.len()
        )?;
        if self.settles > 0 {
            write!(f, "; beside them {} of settlements", self.settles)?;
        }
        for unmet in &self.unmet {
            write!(f, "\n  {unmet}")?;
        }
        for edge in self.broken_edges.iter().take(SHOWN) {
            write!(f, "\n  {edge}")?;
        }
        match self.broken_edges.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the span graph does not close: {}", self.0)
    }
}

impl fmt::Debug for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for Broken {}
