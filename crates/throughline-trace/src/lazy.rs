//! The tracer of a mirror, found when it is needed.

use crate::{Propagation, Spans, spans};
use opentelemetry::global;
use std::{
    sync::{
        PoisonError, RwLock,
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
    pub(crate) spans: Spans,
    pub(crate) propagation: Propagation,
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
static INSTALLED: RwLock<Option<Spans>> = RwLock::new(None);
static GENERATION: AtomicU64 = AtomicU64::new(0);

const ASK_AGAIN: Duration = Duration::from_secs(1);
const ASK_EACH: u32 = 1024;

/// Makes these the spans of every mirror that has none of its own.
pub(crate) fn install(spans: Option<Spans>) {
    *INSTALLED.write().unwrap_or_else(PoisonError::into_inner) = spans;
    GENERATION.fetch_add(1, Ordering::Release);
}

impl Lazy {
    pub(crate) fn new(fixed: Option<Source>) -> Self {
        Lazy { fixed, found: RwLock::default(), skipped: AtomicU32::new(0) }
    }

    #[inline]
    pub(crate) fn get(&self) -> Option<Source> {
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
        Some(self.ask(generation))
    }

    #[cold]
    fn ask(&self, generation: u64) -> Source {
        let installed = INSTALLED.read().unwrap_or_else(PoisonError::into_inner).clone();
        let spans = installed.unwrap_or_else(|| global::tracer_with_scope(spans::scope()).into());
        let source = Source { spans, propagation: Propagation::installed() };
        let found = Found { source: Some(source.clone()), generation, asked: Some(Instant::now()) };
        *self.found.write().unwrap_or_else(PoisonError::into_inner) = found;
        source
    }

    /// What was found answered like a no-op, or like a provider that was shut down.
    #[cold]
    pub(crate) fn was_nothing(&self) {
        if self.fixed.is_none() {
            self.found.write().unwrap_or_else(PoisonError::into_inner).source = None;
        }
    }
}

impl Lazy {
    /// The tracer that was given.
    pub(crate) fn fixed(&self) -> Option<&Source> {
        self.fixed.as_ref()
    }
}
