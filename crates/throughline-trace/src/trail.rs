//! What travels with a message inside the process, so that its trace survives a change of task.

use crate::{Failure, Propagation, Spans, future, semconv, template::Template};
use opentelemetry::{
    Context, KeyValue,
    trace::{SpanContext, TraceContextExt},
};
use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::SystemTime,
};
use throughline_core::Message;

/// The process context of one delivery and the count of its tries.
///
/// [`TracingLayer`](crate::TracingLayer) puts it into the message's extensions, where all clones share it: it survives
/// a buffer, a spawned task, a mailbox and a retry. There is none where nothing came with the message and nothing is
/// recorded.
pub struct Trail {
    context: Context,
    incoming: Option<SpanContext>,
    attempts: AtomicU32,
    /// It tells more of this message than what is current, which is the context of another of its batch.
    apart: bool,
    /// `None` while nothing records, so that no try has a span either.
    recorder: Option<Arc<Recorder>>,
    tries: Mutex<Tries>,
}

/// The context in which a message was handed to a publisher, for stacks that send it from another task.
#[derive(Clone, Debug)]
pub struct Captured(pub Context);

/// The trace contexts of a message.
pub trait TraceContext {
    /// The context of its processing if it runs through a [`TracingLayer`](crate::TracingLayer); else the one it came
    /// with; else an empty one.
    ///
    /// ```
    /// use opentelemetry::trace::TraceContextExt;
    /// use throughline_core::Message;
    /// use throughline_trace::TraceContext;
    ///
    /// let message = Message::new("body")
    ///     .with_header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    /// assert!(message.context().span().span_context().is_remote());
    /// ```
    fn context(&self) -> Context;

    /// The context that the message came with: that of its producer.
    fn creation_context(&self) -> Option<SpanContext>;
}

/// What starts the spans of further tries: the same for all messages of a destination.
pub(crate) struct Recorder {
    pub(crate) spans: Spans,
    pub(crate) template: Arc<Template>,
}

#[derive(Default)]
struct Tries {
    /// Made for the second try, or the first that fails: nearly no message needs it, and all would carry its size.
    further: Option<Box<Further>>,
    /// The process span has ended, and how.
    ended: Option<Outcome>,
}

#[derive(Default)]
struct Further {
    /// The try before the next one.
    last: Option<SpanContext>,
    /// A failed try whose span waits for what becomes of it.
    waiting: Option<FailedTry>,
}

struct FailedTry {
    context: Context,
    failure: Failure,
    at: SystemTime,
}

/// What becomes of a failed try.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nobody outside sees it: another try followed, or the delivery succeeded all the same.
    Absorbed,
    /// It is what the delivery failed with.
    Surfaced,
}

impl Trail {
    pub(crate) fn new(
        context: Context,
        incoming: Option<SpanContext>,
        recorder: Option<Arc<Recorder>>,
    ) -> Self {
        let (apart, attempts) = (false, AtomicU32::new(0));
        Trail { context, incoming, attempts, apart, recorder, tries: Mutex::default() }
    }

    /// Of a message in a batch: the tries are those of the batch.
    pub(crate) fn of_batch(context: Context, incoming: Option<SpanContext>, apart: bool) -> Self {
        Trail { apart, ..Trail::new(context, incoming, None) }
    }

    /// Whether this context counts before one that is current.
    pub(crate) fn is_apart(&self) -> bool {
        self.apart
    }

    /// The context of the message's processing.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// How many tries were started, as counted by [`AttemptLayer`](crate::AttemptLayer); 0 without that layer.
    pub fn attempts(&self) -> u32 {
        self.attempts.load(Ordering::Relaxed)
    }

    /// The context that the message came with.
    pub fn creation_context(&self) -> Option<&SpanContext> {
        self.incoming.as_ref()
    }

    /// Counts a try and starts its span, unless it is the first: that one is the process span itself.
    pub(crate) fn next_try(&self) -> Option<Context> {
        let number = self.attempts.fetch_add(1, Ordering::Relaxed) + 1;
        let recorder = self.recorder.as_ref().filter(|_| number > 1)?;
        let mut tries = self.tries();
        let tried = tries.further.get_or_insert_default();
        let waiting = tried.waiting.take();
        let before = tried.last.take().unwrap_or_else(|| self.context.span().span_context().clone());
        let builder =
            recorder.template.attempt(number, opentelemetry::trace::Link::with_context(before.clone()));
        let started = match recorder.spans.start(builder, &self.context) {
            crate::spans::Started::Recording(context) => Some(context),
            crate::spans::Started::Not(_) => None,
        };
        tried.last = Some(started.as_ref().map_or(before, |context| context.span().span_context().clone()));
        drop(tries);
        if let Some(waiting) = waiting {
            waiting.end(Outcome::Absorbed);
        }
        started
    }

    /// Keeps the span of a failed try open until it is known what becomes of it.
    pub(crate) fn try_failed(&self, context: Context, failure: Failure) {
        let failed = FailedTry { context, failure, at: SystemTime::now() };
        let mut tries = self.tries();
        let (done, how) = match tries.ended {
            Some(how) => (Some(failed), how),
            None => (tries.further.get_or_insert_default().waiting.replace(failed), Outcome::Absorbed),
        };
        drop(tries);
        if let Some(done) = done {
            done.end(how);
        }
    }

    /// The process span ends.
    pub(crate) fn process_ended(&self, how: Outcome) {
        let mut tries = self.tries();
        tries.ended = Some(how);
        let waiting = tries.further.as_mut().and_then(|further| further.waiting.take());
        drop(tries);
        if let Some(waiting) = waiting {
            waiting.end(how);
        }
    }

    fn tries(&self) -> MutexGuard<'_, Tries> {
        self.tries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FailedTry {
    fn end(self, how: Outcome) {
        let span = self.context.span();
        match how {
            Outcome::Absorbed => {
                span.set_attribute(KeyValue::new(semconv::ATTEMPT_ERROR, self.failure.error_type));
            }
            Outcome::Surfaced => future::record(&span, self.failure),
        }
        span.end_with_timestamp(self.at);
    }
}

impl TraceContext for Message {
    fn context(&self) -> Context {
        match self.extensions().get::<Trail>() {
            Some(trail) => trail.context.clone(),
            None => Propagation::installed().extract(self.headers()).unwrap_or_default().into_context(),
        }
    }

    fn creation_context(&self) -> Option<SpanContext> {
        match self.extensions().get::<Trail>() {
            Some(trail) => trail.incoming.clone(),
            None => Propagation::installed().extract(self.headers()).and_then(|found| found.context),
        }
    }
}

impl fmt::Debug for Trail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trail")
            .field("context", &self.context)
            .field("creation_context", &self.incoming)
            .field("attempts", &self.attempts())
            .finish()
    }
}
