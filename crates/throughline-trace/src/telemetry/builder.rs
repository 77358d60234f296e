//! Setting up a `Telemetry`.

use super::{
    Inner, Telemetry,
    admission::{Admission, Counted, Gauge},
    env,
    meters::Meters,
};
use crate::{FollowLinks, Propagation, Relation, lazy, propagation::Named, spans::scope};
use opentelemetry::{KeyValue, global, propagation::TextMapPropagator, trace::TracerProvider};
use opentelemetry_sdk::{
    Resource,
    metrics::{PeriodicReader, SdkMeterProvider, exporter::PushMetricExporter},
    trace::{
        BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, ShouldSample, SpanExporter, SpanProcessor,
        TracerProviderBuilder,
    },
};
use std::{
    fmt,
    sync::{Arc, atomic::AtomicBool},
};
use throughline_core::Error;

/// How many spans may wait for the exporter, unless it is said otherwise.
const QUEUE: usize = 65_536;

/// How many links a span may have, unless the environment says otherwise: a batch links to each of its messages, and
/// the SDK's own limit of 128 would drop the rest. No memory is taken for what is not there.
const LINKS: u32 = 16_384;

/// Sets up a [`Telemetry`].
pub struct TelemetryBuilder {
    service_name: String,
    export: Option<Export>,
    provider: TracerProviderBuilder,
    /// Whether there are spans at all.
    spans: bool,
    meters: Option<MakeMeters>,
    commit_spans: bool,
    sampler: Option<Box<dyn ShouldSample>>,
    relation: Option<Relation>,
    attributes: Vec<KeyValue>,
    propagators: Vec<Named>,
    queue: Option<usize>,
    lossless: bool,
    global: bool,
}

/// Adds the batch processor once queue and setting are known.
type Export =
    Box<dyn FnOnce(TracerProviderBuilder, Arc<Gauge>, usize) -> Result<TracerProviderBuilder, Error> + Send>;

/// Makes the meter provider once its resource is known.
type MakeMeters = Box<dyn FnOnce(Resource) -> Result<SdkMeterProvider, Error> + Send>;

impl TelemetryBuilder {
    pub(super) fn new(service_name: String) -> Self {
        TelemetryBuilder {
            service_name,
            export: None,
            provider: SdkTracerProvider::builder(),
            spans: true,
            meters: None,
            commit_spans: false,
            sampler: None,
            relation: None,
            attributes: Vec::new(),
            propagators: Vec::new(),
            queue: None,
            lossless: false,
            global: true,
        }
    }

    /// Where spans go, in batches, from a thread of its own.
    #[must_use]
    pub fn exporter(self, exporter: impl SpanExporter + 'static) -> Self {
        self.exporter_later(move || Ok(exporter))
    }

    /// The exporter is made in `build` when nothing else can fail: some must not be dropped on a runtime's thread.
    pub(super) fn exporter_later<E: SpanExporter + 'static>(
        mut self,
        make: impl FnOnce() -> Result<E, Error> + Send + 'static,
    ) -> Self {
        self.export = Some(Box::new(move |provider, gauge, queue| {
            let exporter = make()?;
            let config = BatchConfigBuilder::default().with_max_queue_size(queue).build();
            let counted = Counted::new(exporter, gauge.clone());
            let batch = BatchSpanProcessor::builder(counted).with_batch_config(config).build();
            Ok(provider.with_span_processor(Admission::new(batch, gauge)))
        }));
        self
    }

    /// Where [`Metrics`](crate::Metrics) go, from a thread of its own: each `OTEL_METRIC_EXPORT_INTERVAL` (in
    /// milliseconds, else a minute), and when the telemetry is flushed.
    #[must_use]
    pub fn metrics_exporter(self, exporter: impl PushMetricExporter) -> Self {
        self.metrics_exporter_later(move || Ok(exporter))
    }

    pub(super) fn metrics_exporter_later<E: PushMetricExporter>(
        mut self,
        make: impl FnOnce() -> Result<E, Error> + Send + 'static,
    ) -> Self {
        self.meters = Some(Box::new(move |resource| {
            let reader = PeriodicReader::builder(make()?).build();
            Ok(SdkMeterProvider::builder().with_resource(resource).with_reader(reader).build())
        }));
        self
    }

    /// A meter provider that was set up elsewhere, with its own readers and resource, in place of a
    /// [`metrics_exporter`](Self::metrics_exporter). The telemetry flushes it, and shuts it down.
    #[must_use]
    pub fn meter_provider(mut self, provider: SdkMeterProvider) -> Self {
        self.meters = Some(Box::new(move |_| Ok(provider)));
        self
    }

    /// No spans: contexts pass through, and only metrics are exported.
    #[must_use]
    pub fn without_spans(mut self) -> Self {
        self.spans = false;
        self
    }

    /// Whether each automatic commit, as Kafka's, has a span too. Those that fail always have one, and so has every
    /// settlement of a single message. Default no: a commit a second a partition tells little.
    #[must_use]
    pub fn commit_spans(mut self, yes: bool) -> Self {
        self.commit_spans = yes;
        self
    }

    /// Another processor beside the exporter's, as it is: uncounted.
    #[must_use]
    pub fn processor(mut self, processor: impl SpanProcessor + 'static) -> Self {
        self.provider = self.provider.with_span_processor(processor);
        self
    }

    /// Who decides about roots that have no link, and below a parent: it is put into [`FollowLinks`], since a
    /// pipeline of linked traces would be cut at each hop otherwise.
    #[must_use]
    pub fn sampler(mut self, sampler: impl ShouldSample + 'static) -> Self {
        self.sampler = Some(Box::new(sampler));
        self
    }

    /// How process spans relate to the context that came with the message.
    #[must_use]
    pub fn relation(mut self, relation: Relation) -> Self {
        self.relation = Some(relation);
        self
    }

    /// An attribute of the resource, beside the service name and what the environment says.
    #[must_use]
    pub fn attribute(mut self, attribute: KeyValue) -> Self {
        self.attributes.push(attribute);
        self
    }

    /// A format beside `tracecontext` and `baggage`. It is used if `OTEL_PROPAGATORS` names it.
    #[must_use]
    pub fn propagator(
        mut self,
        name: impl Into<String>,
        propagator: impl TextMapPropagator + Send + Sync + 'static,
    ) -> Self {
        self.propagators.push(Named::new(name.into(), propagator));
        self
    }

    /// How many spans may wait for the exporter; else `OTEL_BSP_MAX_QUEUE_SIZE`, else 65,536 (23 MiB).
    #[must_use]
    pub fn queue(mut self, spans: usize) -> Self {
        self.queue = Some(spans.max(1));
        self
    }

    /// Whether a queue that fills holds up the intake of messages instead of dropping spans; see
    /// [`Telemetry::intake_open`]. Default no.
    #[must_use]
    pub fn lossless(mut self, yes: bool) -> Self {
        self.lossless = yes;
        self
    }

    /// Whether it becomes the process's own: provider and propagator in `opentelemetry::global`, and what every
    /// [`MirrorLayer`](crate::MirrorLayer) uses that has none of its own. Default yes.
    #[must_use]
    pub fn global(mut self, yes: bool) -> Self {
        self.global = yes;
        self
    }

    /// Sets it up.
    ///
    /// # Errors
    /// [`Config`](throughline_core::ErrorKind::Config) for a value of the environment that is unknown or malformed.
    pub fn build(self) -> Result<Telemetry, Error> {
        let propagation = match env::var("OTEL_PROPAGATORS")? {
            Some(list) => Propagation::from_list(&list, &self.propagators)?,
            None => Propagation::default(),
        };
        let relation = match (self.relation, env::var("THROUGHLINE_RELATION")?) {
            (Some(relation), _) => relation,
            (None, Some(text)) => text.parse()?,
            (None, None) => Relation::default(),
        };
        let queue = match self.queue {
            Some(queue) => queue,
            None => env::positive("OTEL_BSP_MAX_QUEUE_SIZE")?.unwrap_or(QUEUE),
        };
        let (sampler, follow_links) = match self.sampler {
            Some(sampler) => (Some(sampler), true),
            None => env::sampler()?,
        };
        let resource = resource(self.service_name, self.attributes)?;
        let links = env::positive("OTEL_SPAN_LINK_COUNT_LIMIT")?;
        let links = links.map_or(LINKS, |links| u32::try_from(links).unwrap_or(u32::MAX));
        let gauge = Gauge::new(queue, self.lossless);
        let meters = match self.meters {
            Some(make) => Some(Meters::new(make(resource.clone())?, gauge.clone())),
            None => None,
        };
        let provider = if self.spans {
            let mut provider = self.provider.with_max_links_per_span(links).with_resource(resource);
            if let Some(sampler) = sampler {
                provider = if follow_links {
                    provider.with_sampler(FollowLinks::new(sampler))
                } else {
                    provider.with_sampler(sampler)
                };
            }
            if let Some(export) = self.export {
                provider = export(provider, gauge.clone(), queue)?;
            }
            Some(provider.build())
        } else {
            None
        };
        let spans = provider.as_ref().map(|provider| provider.tracer_with_scope(scope()).into());
        let inner = Inner {
            provider,
            spans,
            meters,
            commit_spans: self.commit_spans,
            relation,
            follow_links,
            propagation,
            max_links: usize::try_from(links).unwrap_or(usize::MAX),
            gauge,
            ended: AtomicBool::new(false),
        };
        if self.global {
            if let Some(provider) = &inner.provider {
                global::set_tracer_provider(provider.clone());
            }
            if let Some(meters) = &inner.meters {
                global::set_meter_provider(meters.provider.clone());
            }
            global::set_text_map_propagator(inner.propagation.text_map());
            inner.propagation.install();
            lazy::install(lazy::Installed {
                spans: inner.spans.clone(),
                metrics: inner.meters.as_ref().map(|meters| meters.metrics.clone()),
            });
        }
        Ok(Telemetry(Some(Arc::new(inner))))
    }
}

/// The environment's name goes first: who runs a service knows it better than who wrote it.
fn resource(service_name: String, attributes: Vec<KeyValue>) -> Result<Resource, Error> {
    let named = env::var("OTEL_SERVICE_NAME")?.is_some()
        || env::var("OTEL_RESOURCE_ATTRIBUTES")?.is_some_and(|list| list.contains("service.name="));
    let resource = Resource::builder().with_attributes(attributes);
    let resource = if named { resource } else { resource.with_service_name(service_name) };
    Ok(resource.build())
}

impl fmt::Debug for TelemetryBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TelemetryBuilder")
            .field("service_name", &self.service_name)
            .field("relation", &self.relation)
            .field("spans", &self.spans)
            .field("metrics", &self.meters.is_some())
            .field("queue", &self.queue)
            .field("lossless", &self.lossless)
            .field("global", &self.global)
            .finish_non_exhaustive()
    }
}
