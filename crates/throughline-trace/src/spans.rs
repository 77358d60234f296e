//! A tracer without a type.

use opentelemetry::{
    Context, InstrumentationScope,
    trace::{Span, SpanBuilder, SpanContext, TraceContextExt, Tracer},
};
use std::{fmt, str::FromStr, sync::Arc};
use throughline_core::{Error, ErrorKind};

/// Starts spans: any tracer, its type hidden. A clone is one reference count.
///
/// It costs one virtual call and, unlike a `BoxedTracer`, no second box for each span.
#[derive(Clone)]
pub struct Spans(Arc<dyn Start>);

/// How a process span relates to the context that came with its message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Relation {
    /// A new root with a link to it: the default of the conventions, which holds for batches and long delays too.
    #[default]
    Link,
    /// A child of it that links to it as well: one trace from end to end. Messages that are older than the layer's
    /// `max_age` fall back to [`Link`](Relation::Link).
    ParentAndLink,
}

/// What starting a span came to.
pub(crate) enum Started {
    /// It records; the context holds it.
    Recording(Context),
    /// It does not: unsampled, no SDK, or shut down.
    Not(SpanContext),
}

trait Start: Send + Sync {
    fn start(&self, builder: SpanBuilder, parent: &Context) -> Started;
}

impl<T> Start for T
where
    T: Tracer + Send + Sync,
    T::Span: Send + Sync + 'static,
{
    fn start(&self, builder: SpanBuilder, parent: &Context) -> Started {
        let span = self.build_with_context(builder, parent);
        if span.is_recording() {
            Started::Recording(parent.with_span(span))
        } else {
            Started::Not(span.span_context().clone())
        }
    }
}

impl Spans {
    #[inline]
    pub(crate) fn start(&self, builder: SpanBuilder, parent: &Context) -> Started {
        self.0.start(builder, parent)
    }
}

/// The scope under which our spans appear.
pub(crate) fn scope() -> InstrumentationScope {
    InstrumentationScope::builder("throughline")
        .with_version(env!("CARGO_PKG_VERSION"))
        .with_schema_url(crate::semconv::SCHEMA_URL)
        .build()
}

impl<T> From<T> for Spans
where
    T: Tracer + Send + Sync + 'static,
    T::Span: Send + Sync + 'static,
{
    fn from(tracer: T) -> Self {
        Spans(Arc::new(tracer))
    }
}

impl fmt::Debug for Spans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Spans")
    }
}

impl FromStr for Relation {
    type Err = Error;

    /// `link` or `parent-and-link`, in any case.
    fn from_str(text: &str) -> Result<Self, Error> {
        match text.trim().to_ascii_lowercase().as_str() {
            "link" => Ok(Relation::Link),
            "parent-and-link" | "parent_and_link" => Ok(Relation::ParentAndLink),
            other => Err(Error::new(
                ErrorKind::Config,
                "THROUGHLINE_RELATION",
                format!("`{other}` is unknown: say `link` or `parent-and-link`"),
            )),
        }
    }
}
