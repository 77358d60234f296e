//! The same formats for carriers of OpenTelemetry's own, such as HTTP headers.

use crate::Propagation;
use bytes::Bytes;
use opentelemetry::{
    Context,
    baggage::BaggageExt,
    propagation::{Extractor, Injector, TextMapPropagator, text_map_propagator::FieldIter},
    trace::TraceContextExt,
};
use std::ops::ControlFlow;
use throughline_core::{Extract, Inject};

/// A [`Propagation`] as OpenTelemetry knows propagators: for HTTP in front of a pipeline and calls out of a handler.
///
/// A [`Telemetry`](crate::Telemetry) that becomes the process's own is `opentelemetry::global`'s propagator too, so
/// that other instrumentation of the process writes and reads what the workers do.
///
/// ```
/// use opentelemetry::{propagation::TextMapPropagator, trace::TraceContextExt};
/// use std::collections::HashMap;
/// use throughline_trace::Propagation;
///
/// let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let request = HashMap::from([("traceparent".to_owned(), parent.to_owned())]);
/// let propagator = Propagation::default().text_map();
/// let context = propagator.extract(&request);
/// assert!(context.span().span_context().is_remote());
///
/// let mut call = HashMap::<String, String>::new();
/// propagator.inject_context(&context, &mut call);
/// assert_eq!(call["traceparent"], parent);
/// ```
#[derive(Clone, Debug)]
pub struct TextMap {
    propagation: Propagation,
    fields: Vec<String>,
}

impl Propagation {
    /// For carriers of OpenTelemetry's own.
    pub fn text_map(&self) -> TextMap {
        let fields = self.fields().into_iter().map(str::to_owned).collect();
        TextMap { propagation: self.clone(), fields }
    }
}

impl TextMapPropagator for TextMap {
    /// Writes the fields that have a value. An `Injector` cannot remove: give it to a request that has none yet.
    fn inject_context(&self, context: &Context, injector: &mut dyn Injector) {
        self.propagation.inject(context, &mut Write(injector));
    }

    fn extract_with_context(&self, context: &Context, extractor: &dyn Extractor) -> Context {
        let found = self.propagation.extract(&Read(extractor)).unwrap_or_default();
        let mut context = context.clone();
        if let Some(baggage) = found.baggage {
            context = context.with_baggage(baggage);
        }
        match found.context {
            Some(remote) => context.with_remote_span_context(remote),
            None => context,
        }
    }

    fn fields(&self) -> FieldIter<'_> {
        FieldIter::new(&self.fields)
    }
}

struct Read<'a>(&'a dyn Extractor);

impl Extract for Read<'_> {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a str, &'a [u8]) -> ControlFlow<()>) {
        for name in self.0.keys() {
            for value in self.0.get_all(name).into_iter().flatten().rev() {
                if visit(name, value.as_bytes()).is_break() {
                    return;
                }
            }
        }
    }
}

struct Write<'a>(&'a mut dyn Injector);

impl Inject for Write<'_> {
    fn set(&mut self, name: &'static str, value: Bytes) {
        // What is written is ASCII: our codec's, or what a propagator wrote as a `String`.
        if let Ok(value) = String::from_utf8(value.into()) {
            self.0.set(name, value);
        }
    }

    fn remove(&mut self, _: &str) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::KeyValue;
    use std::collections::HashMap;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn request(fields: &[(&str, &str)]) -> HashMap<String, String> {
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn context_and_baggage_go_there_and_back() {
        let propagator = Propagation::default().text_map();
        let came =
            request(&[("traceparent", PARENT), ("tracestate", "a=1"), ("baggage", "tenant=x;kind=gold")]);
        let context = propagator.extract(&came);
        assert_eq!(context.baggage().get("tenant").unwrap().as_str(), "x");
        let mut sent = HashMap::new();
        propagator.inject_context(&context, &mut sent);
        assert_eq!(sent, came);
        assert_eq!(propagator.fields().collect::<Vec<_>>(), ["traceparent", "tracestate", "baggage"]);
    }

    #[test]
    fn what_is_malformed_leaves_the_context_as_it_was() {
        let propagator = Propagation::default().text_map();
        let before = Context::new().with_baggage([KeyValue::new("kept", "1")]);
        let after = propagator.extract_with_context(&before, &request(&[("traceparent", "00-xyz")]));
        assert!(!after.span().span_context().is_valid());
        assert_eq!(after.baggage().len(), 1);
    }

    #[test]
    fn no_format_reads_and_writes_nothing() {
        let propagator = Propagation::none().text_map();
        let context = propagator.extract(&request(&[("traceparent", PARENT)]));
        assert!(!context.span().span_context().is_valid());
        assert_eq!(propagator.fields().count(), 0);
    }
}
