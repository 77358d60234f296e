//! `MirrorLayer`: every request that goes out carries the context of its send span.

use crate::{
    Captured, Classify, Metrics, OnError, Propagation, ResponseFuture, Spans, Trail,
    forward::Forwarded,
    future::Ending,
    lazy::{Lazy, Source},
    metrics::{Measured, Operation},
    spans::Started,
    template::Template,
};
use opentelemetry::{
    Context,
    trace::{Link, SpanContext, SpanKind, TraceContextExt},
};
use std::{
    fmt,
    sync::Arc,
    task::{self, Poll},
};
use throughline_core::{ContextBeside, Destination, Extensions, Outbound};
use tower_layer::Layer;
use tower_service::Service;

/// Puts a send span around a service that sends messages, and writes its context into each.
///
/// The span's parent is, in this order: the context that was [`Captured`] with the message, the current one if it is
/// valid, and the one in the message's [`Trail`]. A context that the user put into the message is kept: the span is
/// then a CLIENT that links to it. What merely came along with a received or [forwarded](crate::forward) message is
/// replaced.
///
/// Without an SDK, unsampled, or after the provider was shut down, the parent's context itself is written.
///
/// ```
/// use opentelemetry::trace::TracerProvider;
/// use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
/// use std::{convert::Infallible, sync::Arc};
/// use throughline_core::{Destination, Message};
/// use throughline_trace::MirrorLayer;
/// use tower::{Service, ServiceBuilder, ServiceExt};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let exporter = InMemorySpanExporter::default();
/// let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
/// let orders = Arc::new(Destination::new("kafka", "orders"));
/// let mut send = ServiceBuilder::new()
///     .layer(MirrorLayer::new(orders).spans(provider.tracer("example")))
///     .service_fn(|message: Message| async move {
///         assert!(message.headers().get("traceparent").is_some());
///         Ok::<_, Infallible>(())
///     });
/// send.ready().await?.call(Message::new("body")).await?;
/// assert_eq!(exporter.get_finished_spans()?[0].name, "send orders");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct MirrorLayer<C = OnError> {
    shared: Arc<Shared>,
    classify: C,
}

/// The service of [`MirrorLayer`].
#[derive(Clone)]
pub struct Mirror<S, C = OnError> {
    inner: S,
    shared: Arc<Shared>,
    classify: C,
}

struct Shared {
    tracer: Lazy,
    template: Arc<Template>,
    /// In place of those of the tracer's source.
    measured: Option<Arc<Measured>>,
    record_key: bool,
}

impl MirrorLayer {
    /// For what is sent to this destination. The tracer is taken from [`Telemetry`](crate::Telemetry) or, where there
    /// is none, from `opentelemetry::global`, at the first send; as long as there is none it is asked for again, at
    /// most once a second or each 1024th send.
    pub fn new(destination: Arc<Destination>) -> Self {
        let template = Arc::new(Template::new(None, "send", Some(destination)));
        let shared = Shared { tracer: Lazy::new(None), template, measured: None, record_key: true };
        MirrorLayer { shared: Arc::new(shared), classify: OnError }
    }
}

impl<C> MirrorLayer<C> {
    /// Spans of this tracer, whatever is global.
    #[must_use]
    pub fn spans(self, spans: impl Into<Spans>) -> Self {
        self.spans_with(spans, Propagation::installed())
    }

    /// Spans of this tracer, in these formats.
    #[must_use]
    pub fn spans_with(self, spans: impl Into<Spans>, propagation: Propagation) -> Self {
        self.source(Some(spans.into()), propagation)
    }

    /// What counts and measures each send, sampled or not; without, what the process's
    /// [`Telemetry`](crate::Telemetry) has, unless the tracer was given.
    #[must_use]
    pub fn metrics(self, metrics: impl Into<Option<Metrics>>) -> Self {
        let metrics = metrics.into();
        self.edit(|shared| {
            shared.measured =
                metrics.map(|metrics| Measured::new(metrics, Operation::Send, &shared.template));
        })
    }

    /// Whether the message's key is recorded, for systems that have an attribute for it. Default yes.
    #[must_use]
    pub fn record_key(self, yes: bool) -> Self {
        self.edit(|shared| shared.record_key = yes)
    }

    /// What counts as a failure.
    #[must_use]
    pub fn classify<C2>(self, classify: C2) -> MirrorLayer<C2> {
        MirrorLayer { shared: self.shared, classify }
    }

    pub(crate) fn source(self, spans: Option<Spans>, propagation: Propagation) -> Self {
        self.edit(|shared| shared.tracer = Lazy::new(Some(Source { spans, propagation, measured: None })))
    }

    fn edit(self, edit: impl FnOnce(&mut Shared)) -> Self {
        let mut shared = Shared {
            tracer: Lazy::new(self.shared.tracer.fixed().cloned()),
            template: self.shared.template.clone(),
            measured: self.shared.measured.clone(),
            record_key: self.shared.record_key,
        };
        edit(&mut shared);
        MirrorLayer { shared: Arc::new(shared), classify: self.classify }
    }
}

impl<S, C: Clone> Layer<S> for MirrorLayer<C> {
    type Service = Mirror<S, C>;

    fn layer(&self, inner: S) -> Mirror<S, C> {
        Mirror { inner, shared: self.shared.clone(), classify: self.classify.clone() }
    }
}

/// Captured, else current, else what the message carries; and the baggage of whatever is current if there is none. What
/// is sent on from a batch that is not recorded carries its own, and what is current is that of another message.
fn parent(extensions: Option<&Extensions>) -> Context {
    let is_valid = |context: &Context| context.span().span_context().is_valid();
    let trail = extensions.and_then(|extensions| extensions.get::<Trail>());
    if let Some(trail) = trail.filter(|trail| trail.is_apart()) {
        return trail.context().clone();
    }
    let captured = extensions.and_then(|extensions| extensions.get::<Captured>());
    if let Some(Captured(captured)) = captured.filter(|captured| is_valid(&captured.0)) {
        return captured.clone();
    }
    let current = Context::current();
    if is_valid(&current) {
        return current;
    }
    trail.map(Trail::context).filter(|trail| is_valid(trail)).cloned().unwrap_or(current)
}

/// What the fields of a request say before anything is written.
struct Present {
    /// A context of the user's own, or one that is meant to stay.
    kept: Option<SpanContext>,
    /// What the send span links to beside it.
    links: Vec<Link>,
    forwarded: bool,
}

impl Present {
    #[inline]
    fn of<R: Outbound>(request: &R, propagation: &Propagation) -> Self {
        let mut present = Present { kept: None, links: Vec::new(), forwarded: false };
        let extensions = request.extensions();
        let forwarded = extensions.and_then(|extensions| extensions.get::<Forwarded>());
        let trail = extensions.and_then(|extensions| extensions.get::<Trail>());
        let context = request.fields().and_then(|fields| propagation.extract(fields)?.context);
        if let Some(context) = context {
            let came = forwarded.and_then(|forwarded| forwarded.from.as_ref());
            let came = came.or_else(|| trail.and_then(Trail::creation_context));
            let came_along = came.is_some_and(|came| is_same(came, &context));
            let stays = match forwarded {
                Some(forwarded) if came_along => forwarded.keep,
                Some(Forwarded { overruled, .. }) => {
                    !overruled.as_ref().is_some_and(|overruled| is_same(overruled, &context))
                }
                None => !came_along && !came_beside(extensions, came, propagation),
            };
            if stays {
                present.links.push(Link::with_context(context.clone()));
                present.kept = Some(context);
            }
        }
        if let Some(forwarded) = forwarded {
            present.forwarded = true;
            let mut link = |context: &SpanContext| {
                let known = present.links.iter().any(|link| is_same(&link.span_context, context));
                if context.is_valid() && !known {
                    present.links.push(Link::with_context(context.clone()));
                }
            };
            if let Some(from) = &forwarded.from {
                link(from);
            }
            if let Some(trail) = trail.filter(|_| forwarded.keep) {
                link(trail.context().span().span_context());
            }
        }
        present
    }
}

/// Whether a message that is not a copy came with this context beside its headers, which have another one that did not count.
fn came_beside(
    extensions: Option<&Extensions>,
    came: Option<&SpanContext>,
    propagation: &Propagation,
) -> bool {
    let beside = extensions.and_then(|extensions| extensions.get::<ContextBeside>());
    let Some((beside, came)) = beside.filter(|beside| beside.first).zip(came) else { return false };
    let found = propagation.extract(&beside.fields).and_then(|found| found.context);
    found.is_some_and(|found| is_same(&found, came))
}

fn is_same(a: &SpanContext, b: &SpanContext) -> bool {
    a.span_id() == b.span_id() && a.trace_id() == b.trace_id()
}

impl Shared {
    /// Starts the span and writes its context.
    fn open<R: Outbound>(&self, request: &mut R) -> Ending {
        let parent = parent(request.extensions());
        let source = self.tracer.get(&self.template);
        let (spans, propagation, measured) = match source {
            Some(source) => (source.spans, source.propagation, source.measured),
            None => (None, Propagation::installed(), None),
        };
        let measured = self.measured.as_ref().or(measured.as_ref());
        let measuring =
            measured.filter(|_| !parent.is_telemetry_suppressed()).map(|measured| measured.begin(1));
        let present = Present::of(request, &propagation);
        let (kept, forwarded) = (present.kept.is_some(), present.forwarded);
        let (context, template) = self.start(request, parent, spans, present);
        if !kept && context.span().span_context().is_valid() {
            if forwarded {
                crate::codec::remove_baggage(request.fields_mut());
            }
            propagation.inject(&context, request.fields_mut());
        }
        Ending::send(context, template).measured(measuring)
    }

    fn start<R: Outbound>(
        &self,
        request: &R,
        parent: Context,
        spans: Option<Spans>,
        present: Present,
    ) -> (Context, Option<Arc<Template>>) {
        let above = parent.span();
        let above = above.span_context();
        // Nothing that hangs below an unsampled span is recorded, so its context is carried on as it is.
        let unsampled = above.is_valid() && !above.is_sampled();
        let Some(spans) = spans.filter(|_| !unsampled && !parent.is_telemetry_suppressed()) else {
            return (parent, None);
        };
        let kind = if present.kept.is_some() { SpanKind::Client } else { SpanKind::Producer };
        let mut builder = self.template.builder(kind, present.links);
        if let Some(attributes) = &mut builder.attributes {
            let key = request.key().filter(|_| self.record_key);
            self.template.content(key, request.is_tombstone(), attributes);
        }
        match spans.start(builder, &parent) {
            Started::Recording(context) => (context, Some(self.template.clone())),
            Started::Not(own) if own.is_valid() && !is_same(&own, above) => {
                // A sampler said no. A root says so to those downstream; below a parent, the parent is carried on.
                let context = if above.is_valid() { parent } else { parent.with_remote_span_context(own) };
                (context, None)
            }
            Started::Not(_) => {
                self.tracer.was_nothing();
                (parent, None)
            }
        }
    }
}

impl<S, C, R, Res, E> Service<R> for Mirror<S, C>
where
    S: Service<R, Response = Res, Error = E>,
    R: Outbound,
    C: Classify<Res, E>,
{
    type Response = Res;
    type Error = E;
    type Future = ResponseFuture<S::Future, C>;

    fn poll_ready(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<(), E>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: R) -> Self::Future {
        let ending = self.shared.open(&mut request);
        let inner = &mut self.inner;
        ResponseFuture::call(ending, self.classify.clone(), move || inner.call(request))
    }
}

impl<C> fmt::Debug for MirrorLayer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MirrorLayer").finish_non_exhaustive()
    }
}

impl<S: fmt::Debug, C> fmt::Debug for Mirror<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mirror").field("inner", &self.inner).finish_non_exhaustive()
    }
}
