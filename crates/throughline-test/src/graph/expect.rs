//! What a run must have exported.

use std::{
    fmt,
    ops::{RangeFrom, RangeInclusive, RangeToInclusive},
};

/// How many of something there must be: `3` is exactly three, `3..` at least, `..=3` at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    min: usize,
    max: usize,
}

/// What a run must have exported. What is not said is not counted, but every edge must resolve all the same.
///
/// ```
/// use throughline_test::Expect;
///
/// // Ten messages, each sent and processed once, some of them tried again; every pipeline in one piece.
/// let expect = Expect::new().sends(10).process_spans(10).attempts(1..).components(10);
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Expect {
    pub(crate) spans: Option<Count>,
    pub(crate) process_spans: Option<Count>,
    pub(crate) deliveries: Option<Count>,
    pub(crate) sends: Option<Count>,
    pub(crate) attempts: Option<Count>,
    pub(crate) links: Option<Count>,
    pub(crate) traces: Option<Count>,
    pub(crate) components: Option<Count>,
    pub(crate) redeliveries: Option<Count>,
    pub(crate) without_context: Option<Count>,
}

impl Expect {
    /// No numbers, and no redelivery and no message without a context either.
    pub fn new() -> Self {
        Expect::default()
    }

    /// Spans in all, but for those of settlements.
    pub fn spans(mut self, count: impl Into<Count>) -> Self {
        self.spans = Some(count.into());
        self
    }

    /// CONSUMER spans.
    pub fn process_spans(mut self, count: impl Into<Count>) -> Self {
        self.process_spans = Some(count.into());
        self
    }

    /// Deliveries that process spans cover: a span over a batch covers one for each of its messages.
    pub fn deliveries(mut self, count: impl Into<Count>) -> Self {
        self.deliveries = Some(count.into());
        self
    }

    /// Spans of the operation `send`, whether PRODUCER or CLIENT.
    pub fn sends(mut self, count: impl Into<Count>) -> Self {
        self.sends = Some(count.into());
        self
    }

    /// Spans of second and later tries.
    pub fn attempts(mut self, count: impl Into<Count>) -> Self {
        self.attempts = Some(count.into());
        self
    }

    /// Links.
    pub fn links(mut self, count: impl Into<Count>) -> Self {
        self.links = Some(count.into());
        self
    }

    /// Distinct trace ids among the exported spans.
    pub fn traces(mut self, count: impl Into<Count>) -> Self {
        self.traces = Some(count.into());
        self
    }

    /// Connected pieces over parents and links. More than the run has pipelines means that one was cut.
    pub fn components(mut self, count: impl Into<Count>) -> Self {
        self.components = Some(count.into());
        self
    }

    /// Process spans beyond the first for what looks like the same delivery. Without this there must be none, which
    /// holds on brokers that number deliveries; a log does not, so say here how many times messages came again.
    pub fn redeliveries(mut self, count: impl Into<Count>) -> Self {
        self.redeliveries = Some(count.into());
        self
    }

    /// Process spans of messages that came without a usable context. Without this there must be none.
    pub fn without_context(mut self, count: impl Into<Count>) -> Self {
        self.without_context = Some(count.into());
        self
    }
}

// === impl Count ===

impl Count {
    /// Whether `n` is as many as there must be.
    pub const fn allows(&self, n: usize) -> bool {
        self.min <= n && n <= self.max
    }
}

impl From<usize> for Count {
    fn from(n: usize) -> Self {
        Count { min: n, max: n }
    }
}

impl From<RangeFrom<usize>> for Count {
    fn from(range: RangeFrom<usize>) -> Self {
        Count { min: range.start, max: usize::MAX }
    }
}

impl From<RangeInclusive<usize>> for Count {
    fn from(range: RangeInclusive<usize>) -> Self {
        Count { min: *range.start(), max: *range.end() }
    }
}

impl From<RangeToInclusive<usize>> for Count {
    fn from(range: RangeToInclusive<usize>) -> Self {
        Count { min: 0, max: range.end }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.min, self.max) {
            (min, max) if min == max => write!(f, "exactly {min}"),
            (min, usize::MAX) => write!(f, "at least {min}"),
            (0, max) => write!(f, "at most {max}"),
            (min, max) => write!(f, "{min} to {max}"),
        }
    }
}
