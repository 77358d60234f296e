//! Exported spans with their parents and links.

use super::{Broken, Expect, Report, SpanRecord, SpanRef, rules, tree};
use std::collections::{HashMap, HashSet};

/// Exported spans with their parents and links, of one process or of several.
///
/// ```
/// use opentelemetry::trace::{Tracer, TracerProvider};
/// use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
/// use throughline_test::{Expect, Graph};
///
/// let exporter = InMemorySpanExporter::default();
/// let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
/// provider.tracer("t").in_span("work", |_| {});
///
/// let graph = Graph::new(exporter.get_finished_spans()?);
/// let report = graph.check(&Expect::new().spans(1).components(1))?;
/// assert_eq!(report.traces, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Graph {
    pub(super) spans: Vec<SpanRecord>,
    /// The first span of each id.
    pub(super) index: HashMap<SpanRef, usize>,
    pub(super) external: HashSet<SpanRef>,
}

impl Graph {
    /// Of these spans: the SDK's `SpanData`, or [`SpanRecord`]s.
    pub fn new<S: Into<SpanRecord>>(spans: impl IntoIterator<Item = S>) -> Self {
        let spans: Vec<SpanRecord> = spans.into_iter().map(Into::into).collect();
        let mut index = HashMap::with_capacity(spans.len());
        for (n, span) in spans.iter().enumerate() {
            index.entry(span.id).or_insert(n);
        }
        Graph { spans, index, external: HashSet::new() }
    }

    /// Declares a context that was put into a message by somebody else: an edge to it resolves, whether it was
    /// exported here or not, and it need not be a send span.
    #[must_use]
    pub fn external(mut self, context: impl Into<SpanRef>) -> Self {
        self.external.insert(context.into());
        self
    }

    /// The spans, in the order they came.
    pub fn spans(&self) -> &[SpanRecord] {
        &self.spans
    }

    /// The span of this identity.
    pub fn get(&self, id: SpanRef) -> Option<&SpanRecord> {
        self.index.get(&id).map(|n| &self.spans[*n])
    }

    /// Looks at every edge and counts; says what is wrong in the report.
    pub fn report(&self, expect: &Expect) -> Report {
        rules::report(self, expect)
    }

    /// The same, wrong or not.
    ///
    /// # Errors
    /// An edge is broken, or something is not there as often as it must be.
    pub fn check(&self, expect: &Expect) -> Result<Report, Broken> {
        let report = self.report(expect);
        if report.is_ok() { Ok(report) } else { Err(Broken(Box::new(report))) }
    }

    /// Where the pipeline that this span belongs to began: up its parents, and over the first link where a trace
    /// begins.
    pub fn origin(&self, id: SpanRef) -> SpanRef {
        let (mut at, mut seen) = (id, HashSet::new());
        while seen.insert(at) {
            let Some(span) = self.get(at) else { break };
            let up = span.parent.into_iter().chain(span.links.first().map(|link| link.to));
            match up.into_iter().find(|id| self.index.contains_key(id)) {
                Some(next) => at = next,
                None => break,
            }
        }
        at
    }

    /// A text tree of everything that came of this span, across its traces: `↪` marks a span that is no child of the
    /// one above it but linked to it.
    pub fn tree(&self, root: SpanRef) -> String {
        tree::tree(self, root)
    }
}
