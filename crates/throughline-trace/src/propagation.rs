//! Which formats are read and written.

use crate::codec::{self, Extracted};
use bytes::Bytes;
use opentelemetry::{
    Context,
    baggage::{Baggage, BaggageExt},
    propagation::{Extractor, Injector, TextMapPropagator},
    trace::TraceContextExt,
};
use std::{
    fmt,
    ops::ControlFlow,
    sync::{Arc, PoisonError, RwLock},
};
use throughline_core::{Error, ErrorKind, Extract, Inject};

/// The formats of a trace context on the wire: W3C Trace Context and Baggage by our own codec, others as
/// `TextMapPropagator`s. A clone is one reference count.
///
/// The default is `tracecontext,baggage`. The global propagator of `opentelemetry` is not asked: it is a no-op until
/// somebody sets it, and a trace must not break for that.
#[derive(Clone)]
pub struct Propagation {
    context: bool,
    baggage: bool,
    others: Option<Arc<[Named]>>,
}

/// A propagator and the name that `OTEL_PROPAGATORS` knows it by.
#[derive(Clone)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) propagator: Arc<dyn TextMapPropagator + Send + Sync>,
    /// What the propagator reads and writes; `Inject` takes static names only.
    fields: Arc<[&'static str]>,
}

static INSTALLED: RwLock<Option<Propagation>> = RwLock::new(None);

impl Propagation {
    /// No format at all: every message starts a new trace.
    pub const fn none() -> Self {
        Propagation { context: false, baggage: false, others: None }
    }

    /// What the last [`Telemetry`](crate::Telemetry) that was built as the global one said, else the default.
    pub fn installed() -> Self {
        INSTALLED.read().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default()
    }

    pub(crate) fn install(&self) {
        *INSTALLED.write().unwrap_or_else(PoisonError::into_inner) = Some(self.clone());
    }

    /// Reads a list as in `OTEL_PROPAGATORS`; `known` are the propagators beside our own.
    pub(crate) fn from_list(list: &str, known: &[Named]) -> Result<Self, Error> {
        let mut found = Propagation::none();
        let mut others = Vec::new();
        for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match name {
                "tracecontext" => found.context = true,
                "baggage" => found.baggage = true,
                "none" => {}
                other => match known.iter().find(|named| named.name == other) {
                    Some(named) => others.push(named.clone()),
                    None => return Err(unknown(other)),
                },
            }
        }
        found.others = (!others.is_empty()).then(|| others.into());
        Ok(found)
    }

    /// `None` if nothing came.
    // Inlined as the codec's `read` is.
    #[inline(always)]
    pub(crate) fn extract(&self, fields: &dyn Extract) -> Option<Extracted> {
        let found = codec::read(fields, self.context, self.baggage);
        match &self.others {
            None => found,
            Some(others) => Some(extract_others(others, found.unwrap_or_default(), fields)),
        }
    }

    /// Writes the span context and the baggage of `context`.
    #[inline]
    pub(crate) fn inject(&self, context: &Context, fields: &mut dyn Inject) {
        if self.context {
            codec::inject(context.span().span_context(), fields);
        }
        if self.baggage {
            let baggage = context.baggage();
            if !baggage.is_empty() {
                codec::inject_baggage(baggage, fields);
            }
        }
        for other in self.others.iter().flat_map(|others| others.iter()) {
            other.propagator.inject_context(context, &mut Writer { fields, names: &other.fields });
        }
    }

    /// Every field that is read and written.
    pub(crate) fn fields(&self) -> Vec<&'static str> {
        let own = [(self.context, "traceparent"), (self.context, "tracestate"), (self.baggage, "baggage")];
        let own = own.into_iter().filter(|(on, _)| *on).map(|(_, name)| name);
        own.chain(
            self.others
                .iter()
                .flat_map(|others| others.iter())
                .flat_map(|other| other.fields.iter().copied()),
        )
        .collect()
    }
}

fn unknown(name: &str) -> Error {
    let remedy = format!(
        "`{name}` is not known: name `tracecontext`, `baggage`, `none`, or one that was given to \
         `Telemetry::builder(..).propagator(name, ..)`"
    );
    Error::new(ErrorKind::Config, "OTEL_PROPAGATORS", remedy)
}

#[cold]
fn extract_others(others: &[Named], found: Extracted, fields: &dyn Extract) -> Extracted {
    let (before, invalid) = (found.context.is_some(), found.invalid);
    let mut context = found.into_context();
    for other in others {
        context = other.propagator.extract_with_context(&context, &Reader::new(fields));
    }
    let remote = Some(context.span().span_context().clone()).filter(|remote| remote.is_valid());
    let baggage = Some(context.baggage()).filter(|baggage| !baggage.is_empty());
    let baggage = baggage
        .map(|baggage| baggage.iter().map(|(key, value)| (key.clone(), value.clone())).collect::<Baggage>());
    Extracted { invalid: invalid && !before && remote.is_none(), context: remote, baggage }
}

impl Extracted {
    /// Over an empty context.
    pub(crate) fn into_context(self) -> Context {
        let mut context = Context::new();
        if let Some(baggage) = self.baggage {
            context = context.with_baggage(baggage);
        }
        match self.context {
            Some(remote) => context.with_remote_span_context(remote),
            None => context,
        }
    }
}

impl Named {
    pub(crate) fn new(name: String, propagator: impl TextMapPropagator + Send + Sync + 'static) -> Self {
        // Once for each propagator that is plugged in, so what is kept for good is a few words.
        let fields =
            propagator.fields().map(|field| &*Box::leak(field.to_ascii_lowercase().into_boxed_str()));
        Named { name, fields: fields.collect(), propagator: Arc::new(propagator) }
    }
}

impl Default for Propagation {
    fn default() -> Self {
        Propagation { context: true, baggage: true, others: None }
    }
}

impl fmt::Debug for Propagation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = [(self.context, "tracecontext"), (self.baggage, "baggage")];
        let own = own.into_iter().filter(|(on, _)| *on).map(|(_, name)| name);
        let others = self.others.iter().flat_map(|others| others.iter()).map(|other| other.name.as_str());
        f.debug_list().entries(own.chain(others)).finish()
    }
}

/// Fields as an OpenTelemetry propagator wants them: the last UTF-8 value, an exact name before another case.
struct Reader<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Reader<'a> {
    fn new(fields: &'a dyn Extract) -> Self {
        let mut all = Vec::new();
        fields.visit(&mut |name, value| {
            if let Ok(value) = std::str::from_utf8(value) {
                all.push((name, value));
            }
            ControlFlow::Continue(())
        });
        Reader(all)
    }
}

impl Extractor for Reader<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let exact = self.0.iter().find(|(name, _)| *name == key);
        exact
            .or_else(|| self.0.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)))
            .map(|(_, value)| *value)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| *name).collect()
    }
}

struct Writer<'a> {
    fields: &'a mut dyn Inject,
    names: &'a [&'static str],
}

impl Injector for Writer<'_> {
    fn set(&mut self, key: &str, value: String) {
        let name = self.names.iter().find(|name| name.eq_ignore_ascii_case(key));
        if let (Some(name), false) = (name, value.is_empty()) {
            self.fields.set(name, Bytes::from(value));
        }
    }
}
