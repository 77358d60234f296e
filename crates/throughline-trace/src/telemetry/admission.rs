//! Counted admission before the SDK's queue, so that no span is lost without being counted.
//!
//! The SDK's batch processor tells only at shutdown how many spans it dropped. Here a span is admitted if there is a
//! place among those that wait for the exporter, and the place is free again when its export is over; the SDK's own
//! queue has as many places, so it never drops.

use opentelemetry::Context;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor},
};
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// How long a dead exporter may stop the intake.
const PATIENCE: Duration = Duration::from_secs(60);

/// One line about drops in this time.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// Counts the spans on their way.
pub(super) struct Gauge {
    capacity: usize,
    lossless: bool,
    patience: Duration,
    queued: AtomicUsize,
    exported: AtomicU64,
    dropped: AtomicU64,
    /// Milliseconds since `start`, plus one, at which the intake was found closed; 0 if an export was accepted since.
    stuck_since: AtomicU64,
    /// Milliseconds since `start` at which the next line may be written.
    next_warning: AtomicU64,
    start: Instant,
}

impl Gauge {
    pub(super) fn new(capacity: usize, lossless: bool) -> Arc<Self> {
        Arc::new(Self::with_patience(capacity, lossless, PATIENCE))
    }

    /// Of a provider whose queue we do not see.
    pub(super) fn none() -> Arc<Self> {
        Self::new(usize::MAX, false)
    }

    fn with_patience(capacity: usize, lossless: bool, patience: Duration) -> Self {
        Gauge {
            capacity,
            lossless,
            patience,
            queued: AtomicUsize::new(0),
            exported: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            stuck_since: AtomicU64::new(0),
            next_warning: AtomicU64::new(0),
            start: Instant::now(),
        }
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Acquire)
    }

    pub(super) fn exported(&self) -> u64 {
        self.exported.load(Ordering::Acquire)
    }

    pub(super) fn queued(&self) -> usize {
        self.queued.load(Ordering::Acquire)
    }

    #[inline]
    pub(super) fn intake_open(&self) -> bool {
        !self.lossless || self.queued() <= self.capacity / 4 * 3 || self.is_out_of_patience()
    }

    #[cold]
    fn is_out_of_patience(&self) -> bool {
        let now = self.millis() + 1;
        match self.stuck_since.compare_exchange(0, now, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => self.patience.is_zero(),
            Err(since) => now.saturating_sub(since) >= self.patience.as_millis() as u64,
        }
    }

    #[inline]
    fn admit(&self) -> bool {
        if self.queued.fetch_add(1, Ordering::AcqRel) < self.capacity {
            return true;
        }
        self.queued.fetch_sub(1, Ordering::AcqRel);
        self.lost(1);
        false
    }

    fn export_is_over(&self, spans: usize, accepted: bool) {
        self.queued.fetch_sub(spans, Ordering::AcqRel);
        if accepted {
            self.exported.fetch_add(spans as u64, Ordering::AcqRel);
            self.stuck_since.store(0, Ordering::Release);
        } else {
            self.lost(spans);
        }
    }

    #[cold]
    fn lost(&self, spans: usize) {
        let total = self.dropped.fetch_add(spans as u64, Ordering::AcqRel) + spans as u64;
        let now = self.millis();
        let next = self.next_warning.load(Ordering::Relaxed);
        let later = now + WARN_EVERY.as_millis() as u64;
        let ours = now >= next
            && self.next_warning.compare_exchange(next, later, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if ours {
            ::tracing::warn!(
                dropped = total,
                queue = self.capacity,
                "spans were dropped: the exporter is too slow or fails"
            );
        }
    }

    fn millis(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }
}

/// Admits spans to a batch processor.
#[derive(Debug)]
pub(super) struct Admission {
    inner: BatchSpanProcessor,
    gauge: Arc<Gauge>,
}

impl Admission {
    /// `inner` has the gauge's capacity and exports through a [`Counted`] of the same gauge.
    pub(super) fn new(inner: BatchSpanProcessor, gauge: Arc<Gauge>) -> Self {
        Admission { inner, gauge }
    }
}

impl SpanProcessor for Admission {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.inner.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        // The SDK's batch processor exports whatever it is given; a span that only records is not for export.
        if span.span_context.is_sampled() && self.gauge.admit() {
            self.inner.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// Tells the gauge what became of each batch.
#[derive(Debug)]
pub(super) struct Counted<E> {
    inner: E,
    gauge: Arc<Gauge>,
}

impl<E> Counted<E> {
    pub(super) fn new(inner: E, gauge: Arc<Gauge>) -> Self {
        Counted { inner, gauge }
    }
}

/// Counts a batch as lost unless its export said otherwise: also one whose exporter panicked.
struct Pending<'a> {
    gauge: &'a Gauge,
    spans: usize,
    accepted: bool,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.gauge.export_is_over(self.spans, self.accepted);
    }
}

impl<E: SpanExporter> SpanExporter for Counted<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let mut pending = Pending { gauge: &self.gauge, spans: batch.len(), accepted: false };
        let result = self.inner.export(batch).await;
        pending.accepted = result.is_ok();
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

impl fmt::Debug for Gauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gauge")
            .field("capacity", &self.capacity)
            .field("lossless", &self.lossless)
            .field("queued", &self.queued())
            .field("exported", &self.exported())
            .field("dropped", &self.dropped())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admission_stops_at_the_capacity_and_counts() {
        let gauge = Gauge::with_patience(4, false, PATIENCE);
        assert_eq!((0..6).filter(|_| gauge.admit()).count(), 4);
        assert_eq!((gauge.queued(), gauge.dropped()), (4, 2));
        gauge.export_is_over(3, true);
        gauge.export_is_over(1, false);
        assert_eq!((gauge.queued(), gauge.exported(), gauge.dropped()), (0, 3, 3));
        assert!(gauge.intake_open(), "without the lossless setting the intake never waits");
    }

    #[test]
    fn the_lossless_intake_closes_above_three_quarters() {
        let gauge = Gauge::with_patience(8, true, PATIENCE);
        (0..6).for_each(|_| assert!(gauge.admit()));
        assert!(gauge.intake_open());
        assert!(gauge.admit());
        assert!(!gauge.intake_open());
        gauge.export_is_over(1, true);
        assert!(gauge.intake_open());
    }

    #[test]
    fn a_dead_exporter_does_not_close_the_intake_for_good() {
        let gauge = Gauge::with_patience(4, true, Duration::from_millis(20));
        (0..4).for_each(|_| assert!(gauge.admit()));
        assert!(!gauge.intake_open());
        let deadline = Instant::now() + Duration::from_secs(10);
        while !gauge.intake_open() {
            assert!(Instant::now() < deadline, "still closed");
            std::thread::yield_now();
        }
        // An export that works makes it patient again.
        gauge.export_is_over(4, true);
        (0..4).for_each(|_| assert!(gauge.admit()));
        assert!(!gauge.intake_open());
    }
}
