//! `TracingLayer`: every request that comes in is processed inside a span that belongs to its producer's trace.

mod batch;
mod place;
mod prepared;

use crate::{
    Classify, Metrics, OnError, Propagation, Relation, ResponseFuture, Spans, Trail, codec::Extracted,
    future::Ending, metrics::Measuring, semconv, spans::Started, trail::Recorder,
};
use opentelemetry::{
    Context, KeyValue,
    baggage::BaggageExt,
    trace::{Link, SpanContext, SpanKind, TraceContextExt},
};
use prepared::Templates;
use std::{
    fmt,
    sync::Arc,
    task::{self, Poll},
    time::{Duration, SystemTime},
};
use throughline_core::{Extensions, Inbound, Origin};
use tower_layer::Layer;
use tower_service::Service;

/// Puts a process span around a service that handles messages, one at a time or in batches.
///
/// It extracts the context of each request over an **empty** one (what happens to be current is never taken for the
/// message's), starts a CONSUMER span that is linked to it, and keeps the span's context current in `call`, on every
/// poll and while the future is dropped. The span ends exactly once, whatever happens.
///
/// A batch (a request whose [`Inbound::batch`] gives its messages) has one process span, always a root, that links to
/// the context of each message; offset, key and whatever else differs is on the link. Before it a CLIENT span of the
/// operation `receive` with the same links says that the batch was handed over, and how long it took to form.
///
/// Without an SDK, unsampled, or after the provider was shut down, nothing is recorded and the incoming context itself
/// is current: what is sent from there carries it on.
///
/// ```
/// use opentelemetry::trace::TracerProvider;
/// use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
/// use std::convert::Infallible;
/// use throughline_core::Message;
/// use throughline_trace::TracingLayer;
/// use tower::{Service, ServiceBuilder, ServiceExt};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let exporter = InMemorySpanExporter::default();
/// let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
/// let mut service = ServiceBuilder::new()
///     .layer(TracingLayer::new(provider.tracer("example")))
///     .service_fn(|_: Message| async { Ok::<_, Infallible>(()) });
/// let message = Message::new("body")
///     .with_header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
/// service.ready().await?.call(message).await?;
/// let spans = exporter.get_finished_spans()?;
/// assert_eq!(spans[0].links.links.len(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct TracingLayer<C = OnError> {
    settings: Arc<Settings>,
    classify: C,
}

/// The service of [`TracingLayer`].
#[derive(Clone)]
pub struct Tracing<S, C = OnError> {
    inner: S,
    settings: Arc<Settings>,
    classify: C,
    templates: Templates,
    /// Of receive spans.
    receive: Templates,
}

#[derive(Clone)]
struct Settings {
    spans: Option<Spans>,
    metrics: Option<Metrics>,
    relation: Relation,
    max_age: Duration,
    follow_links: bool,
    operation: Option<&'static str>,
    record_key: bool,
    receive: bool,
    max_links: usize,
    propagation: Propagation,
}

/// The SDK's limit unless it is set up otherwise.
pub(crate) const SDK_LINKS: usize = 128;

impl TracingLayer {
    /// Spans of this tracer.
    pub fn new(spans: impl Into<Spans>) -> Self {
        Self::build(Some(spans.into()))
    }

    /// No spans: contexts pass through.
    pub fn passthrough() -> Self {
        Self::build(None)
    }

    pub(crate) fn build(spans: Option<Spans>) -> Self {
        let settings = Settings {
            spans,
            metrics: None,
            relation: Relation::default(),
            max_age: Duration::from_secs(3600),
            follow_links: false,
            operation: None,
            record_key: true,
            receive: true,
            max_links: SDK_LINKS,
            propagation: Propagation::installed(),
        };
        TracingLayer { settings: Arc::new(settings), classify: OnError }
    }
}

impl<C> TracingLayer<C> {
    /// How the process span relates to the context that came with the message.
    #[must_use]
    pub fn relation(self, relation: Relation) -> Self {
        self.edit(|settings| settings.relation = relation)
    }

    /// From which age on a message is only linked to, whatever the relation: a trace of many days helps nobody.
    /// Default one hour. The age is that of [`Origin::time`].
    #[must_use]
    pub fn max_age(self, age: Duration) -> Self {
        self.edit(|settings| settings.max_age = age)
    }

    /// Says that the sampler follows links (as [`FollowLinks`](crate::FollowLinks) does), so that nothing need be
    /// asked for a message that its producer did not sample: the layer then leaves the SDK out.
    #[must_use]
    pub fn follow_links(self, yes: bool) -> Self {
        self.edit(|settings| settings.follow_links = yes)
    }

    /// The operation's name, in place of that of the conventions for the system.
    #[must_use]
    pub fn operation(self, name: &'static str) -> Self {
        self.edit(|settings| settings.operation = Some(name))
    }

    /// Whether the message's key is recorded, for systems that have an attribute for it. Default yes.
    #[must_use]
    pub fn record_key(self, yes: bool) -> Self {
        self.edit(|settings| settings.record_key = yes)
    }

    /// What counts and measures each delivery, sampled or not. Without, nothing does.
    #[must_use]
    pub fn metrics(self, metrics: impl Into<Option<Metrics>>) -> Self {
        let metrics = metrics.into();
        self.edit(|settings| settings.metrics = metrics)
    }

    /// Whether a batch has a receive span beside its process span. Default yes.
    #[must_use]
    pub fn receive_spans(self, yes: bool) -> Self {
        self.edit(|settings| settings.receive = yes)
    }

    /// How many links a span may have: the limit of the SDK that makes the spans, which drops what is over it. Links
    /// of a batch beyond it are left out here and counted in `throughline.links.dropped`. Default 128, as in the SDK.
    #[must_use]
    pub fn max_links(self, links: usize) -> Self {
        self.edit(|settings| settings.max_links = links)
    }

    /// The formats that are read.
    #[must_use]
    pub fn propagation(self, propagation: Propagation) -> Self {
        self.edit(|settings| settings.propagation = propagation)
    }

    /// What counts as a failure.
    #[must_use]
    pub fn classify<C2>(self, classify: C2) -> TracingLayer<C2> {
        TracingLayer { settings: self.settings, classify }
    }

    fn edit(mut self, edit: impl FnOnce(&mut Settings)) -> Self {
        edit(Arc::make_mut(&mut self.settings));
        self
    }
}

impl<S, C: Clone> Layer<S> for TracingLayer<C> {
    type Service = Tracing<S, C>;

    fn layer(&self, inner: S) -> Tracing<S, C> {
        Tracing {
            inner,
            settings: self.settings.clone(),
            classify: self.classify.clone(),
            templates: Templates::of("process"),
            receive: Templates::of("receive"),
        }
    }
}

/// The context for one request.
#[derive(Default)]
struct Opened {
    context: Context,
    incoming: Option<SpanContext>,
    /// Set if a span was started that records.
    recorder: Option<Arc<Recorder>>,
}

impl<S, C> Tracing<S, C> {
    #[inline]
    fn measure<R: Inbound>(&mut self, request: &R) -> Option<Measuring> {
        let settings = &*self.settings;
        settings.metrics.as_ref()?;
        let origin = request.origin();
        let prepared = self.templates.get(settings, origin.map(|origin| &origin.destination));
        let measured = prepared.measured.as_ref()?;
        if let Some(published) = origin.and_then(|origin| origin.time) {
            measured.waited(published);
        }
        Some(measured.begin(1))
    }

    /// `None` if nothing came and nothing is recorded, so that there is nothing to keep.
    #[inline]
    fn open<R: Inbound>(&mut self, request: &R) -> Option<Opened> {
        let settings = &*self.settings;
        let (found, place) = settings.extract(request);
        let Some(spans) = &settings.spans else {
            return found
                .filter(|found| found.context.is_some() || found.baggage.is_some())
                .map(pass_through);
        };
        let found = found.unwrap_or_default();
        if settings.follow_links
            && place.decides()
            && found.context.as_ref().is_some_and(|context| !context.is_sampled())
        {
            return Some(pass_through(found));
        }
        let origin = request.origin();
        let Extracted { context: incoming, baggage, invalid } = found;
        let mut parent = Context::new();
        if let Some(baggage) = baggage {
            parent = parent.with_baggage(baggage);
        }
        let mut links = Vec::with_capacity(usize::from(incoming.is_some()));
        if let Some(incoming) = &incoming {
            links.push(Link::new(incoming.clone(), place.attributes().collect(), 0));
        }
        let base = parent;
        let parent = match &incoming {
            Some(remote)
                if settings.relation == Relation::ParentAndLink
                    && place.decides()
                    && !settings.is_old(origin) =>
            {
                link_ambient(remote, &mut links);
                base.with_remote_span_context(remote.clone())
            }
            _ => base.clone(),
        };
        let prepared = self.templates.get(settings, origin.map(|origin| &origin.destination));
        let template = &prepared.template;
        let mut builder = template.builder(SpanKind::Consumer, links);
        if let Some(attributes) = &mut builder.attributes {
            if let Some(origin) = origin {
                template.origin(origin, attributes);
            }
            let key = request.key().filter(|_| settings.record_key);
            template.content(key, request.is_tombstone(), attributes);
            if invalid {
                attributes.push(KeyValue::new(semconv::CONTEXT_INVALID, true));
            }
        }
        Some(match spans.start(builder, &parent) {
            Started::Recording(context) => Opened { context, incoming, recorder: prepared.recorder.clone() },
            Started::Not(own) => {
                // What came is carried on; only a message without a context gets the one that was not sampled.
                let current = incoming.clone().or_else(|| Some(own).filter(SpanContext::is_valid));
                let context = match current {
                    Some(current) => base.with_remote_span_context(current),
                    None => base,
                };
                Opened { context, incoming, recorder: None }
            }
        })
    }
}

impl Settings {
    fn is_old(&self, origin: Option<&Origin>) -> bool {
        let published = origin.and_then(|origin| origin.time);
        published.is_some_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age > self.max_age))
    }
}

fn pass_through(found: Extracted) -> Opened {
    let incoming = found.context.clone();
    Opened { context: found.into_context(), incoming, recorder: None }
}

fn link_ambient(remote: &SpanContext, links: &mut Vec<Link>) {
    Context::map_current(|ambient| {
        let span = ambient.span();
        let ambient = span.span_context();
        if ambient.is_valid() && ambient.span_id() != remote.span_id() {
            links.push(Link::with_context(ambient.clone()));
        }
    });
}

impl<S, C, R, Res, E> Service<R> for Tracing<S, C>
where
    S: Service<R, Response = Res, Error = E>,
    R: Inbound,
    C: Classify<Res, E>,
{
    type Response = Res;
    type Error = E;
    type Future = ResponseFuture<S::Future, C>;

    fn poll_ready(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<(), E>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, mut request: R) -> Self::Future {
        let began = request.began();
        // Not as one value: moving it costs what a look at the clock costs.
        let (measuring, opened);
        if let Some(messages) = request.batch() {
            (measuring, opened) = self.open_batch(messages, began);
        } else {
            measuring = self.measure(&request);
            opened = self.open(&request);
        }
        let extensions = request.extensions_mut();
        // The trail of an earlier delivery has to be hidden; where the tries are counted, there has to be one.
        let trail = opened.is_some() || measuring.is_some();
        let old = |extensions: &&mut Extensions| extensions.get::<Trail>().is_some();
        let ending = if !trail && !extensions.as_ref().is_some_and(old) {
            Ending::process(None, false, None)
        } else {
            let current = opened.as_ref().map(|opened| opened.context.clone());
            let Opened { context, incoming, recorder } = opened.unwrap_or_default();
            let open = recorder.is_some();
            let extensions = extensions.and_then(|extensions| {
                extensions.insert(Trail::new(context, incoming, recorder));
                (open || measuring.is_some()).then(|| extensions.clone())
            });
            Ending::process(current, open, extensions)
        };
        let ending = ending.measured(measuring);
        let inner = &mut self.inner;
        ResponseFuture::call(ending, self.classify.clone(), move || inner.call(request))
    }
}

impl<C> fmt::Debug for TracingLayer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TracingLayer").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl<S: fmt::Debug, C> fmt::Debug for Tracing<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracing")
            .field("inner", &self.inner)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("spans", &self.spans.is_some())
            .field("metrics", &self.metrics.is_some())
            .field("relation", &self.relation)
            .field("max_age", &self.max_age)
            .field("follow_links", &self.follow_links)
            .field("propagation", &self.propagation)
            .finish_non_exhaustive()
    }
}
