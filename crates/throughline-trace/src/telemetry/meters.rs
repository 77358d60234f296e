//! The metrics of a telemetry: its provider, the instruments, and what they look up at a collection.

use super::{admission::Gauge, wait};
use crate::{
    Metrics,
    metrics::{Registry, WorkerFigures},
    spans::scope,
};
use opentelemetry::metrics::MeterProvider;
use opentelemetry_sdk::{
    error::{OTelSdkError, OTelSdkResult},
    metrics::SdkMeterProvider,
};
use std::{sync::Arc, time::Duration};

pub(super) struct Meters {
    pub(super) provider: SdkMeterProvider,
    pub(super) metrics: Metrics,
    pub(super) registry: Arc<Registry>,
}

impl Meters {
    pub(super) fn new(provider: SdkMeterProvider, spans: Arc<Gauge>) -> Self {
        let meter = provider.meter_with_scope(scope());
        let metrics = Metrics::new(&meter);
        let registry = Registry::new(&meter, move || spans.dropped());
        Meters { provider, metrics, registry }
    }

    pub(super) fn watch(
        &self,
        worker: String,
        figures: impl Fn() -> Option<WorkerFigures> + Send + Sync + 'static,
    ) {
        self.registry.watch(worker, Box::new(figures));
    }

    /// A backend that takes no metrics must not make a clean end look like a failed one, so it is only said. Nothing
    /// is lost by an export that fails before the last one: sums and histograms are cumulative.
    pub(super) fn export(
        &self,
        what: &str,
        within: Duration,
        work: impl FnOnce(&SdkMeterProvider) -> OTelSdkResult + Send + 'static,
    ) {
        let provider = self.provider.clone();
        let error = match wait::blocking(within, move || work(&provider)) {
            Some(Ok(()) | Err(OTelSdkError::AlreadyShutdown)) => return,
            Some(Err(error)) => error,
            None => OTelSdkError::Timeout(within),
        };
        ::tracing::warn!(
            %error,
            what,
            "metrics were not exported; see whether the endpoint answers, or set OTEL_METRICS_EXPORTER=none"
        );
    }
}
