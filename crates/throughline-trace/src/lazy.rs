//! The tracer of a mirror, found when it is needed.

use crate::{
    Metrics, Propagation, Spans,
    metrics::{Measured, Operation},
    spans,
    template::Template,
};
use opentelemetry::global;
use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// A tracer that was given, or the global one, taken at the first send so that a publisher which was built before the
/// telemetry still traces.
pub(crate) struct Lazy {
    fixed: Option<Source>,
    found: RwLock<Found>,
    skipped: AtomicU32,
}

#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) spans: Option<Spans>,
    pub(crate) propagation: Propagation,
    pub(crate) measured: Option<Arc<Measured>>,
}

/// What a telemetry traces and measures with.
#[derive(Clone)]
pub(crate) struct Installed {
    pub(crate) spans: Option<Spans>,
    pub(crate) metrics: Option<Metrics>,
}

#[derive(Default)]
struct Found {
    source: Option<Source>,
    /// Which installation it is of.
    generation: u64,
    /// When it was asked for last; nothing is learnt by asking a no-op again and again.
    asked: Option<Instant>,
}

/// What a global [`Telemetry`](crate::Telemetry) put here. Its tracer has a type, and so saves the boxes of
/// `opentelemetry::global`.
static INSTALLED: RwLock<Option<Installed>> = RwLock::new(None);
static GENERATION: AtomicU64 = AtomicU64::new(0);

const ASK_AGAIN: Duration = Duration::from_secs(1);
const ASK_EACH: u32 = 1024;

/// Makes this what every mirror uses that was given nothing.
pub(crate) fn install(installed: Installed) {
    *INSTALLED.write().unwrap_or_else(PoisonError::into_inner) = Some(installed);
    GENERATION.fetch_add(1, Ordering::Release);
}

impl Lazy {
    pub(crate) fn new(fixed: Option<Source>) -> Self {
        Lazy { fixed, found: RwLock::default(), skipped: AtomicU32::new(0) }
    }

    #[inline]
    pub(crate) fn get(&self, template: &Template) -> Option<Source> {
        if let Some(fixed) = &self.fixed {
            return Some(fixed.clone());
        }
        let generation = GENERATION.load(Ordering::Acquire);
        let found = self.found.read().unwrap_or_else(PoisonError::into_inner);
        if found.generation == generation {
            if let Some(source) = &found.source {
                return Some(source.clone());
            }
            let recent = found.asked.is_some_and(|asked| asked.elapsed() < ASK_AGAIN);
            if recent && !(self.skipped.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(ASK_EACH) {
                return None;
            }
        }
        drop(found);
        Some(self.ask(generation, template))
    }

    #[cold]
    fn ask(&self, generation: u64, template: &Template) -> Source {
        let installed = INSTALLED.read().unwrap_or_else(PoisonError::into_inner).clone();
        let propagation = Propagation::installed();
        let source = match installed {
            Some(Installed { spans, metrics }) => Source {
                spans,
                propagation,
                measured: metrics.map(|metrics| Measured::new(metrics, Operation::Send, template)),
            },
            None => {
                let spans = Some(global::tracer_with_scope(spans::scope()).into());
                Source { spans, propagation, measured: None }
            }
        };
        let found = Found { source: Some(source.clone()), generation, asked: Some(Instant::now()) };
        *self.found.write().unwrap_or_else(PoisonError::into_inner) = found;
        source
    }

    /// What was found answered like a no-op, or like a provider that was shut down.
    #[cold]
    pub(crate) fn was_nothing(&self) {
        if self.fixed.is_none() {
            let mut found = self.found.write().unwrap_or_else(PoisonError::into_inner);
            // With metrics there is a telemetry, and each send is measured.
            found.source.take_if(|source| source.measured.is_none());
        }
    }
}

impl Lazy {
    /// The tracer that was given.
    pub(crate) fn fixed(&self) -> Option<&Source> {
        self.fixed.as_ref()
    }
}
