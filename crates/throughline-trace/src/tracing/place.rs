//! Where a context came from.

use super::Settings;
use crate::{codec::Extracted, semconv as key};
use opentelemetry::KeyValue;
use throughline_core::Inbound;

/// Set for a context that came elsewhere than in a message's fields: where, and whether it decides anything.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place(Option<(&'static str, bool)>);

impl Settings {
    /// The context of a request: that of its fields, else one that came beside them; or the other way round. `None` if
    /// nothing came.
    // Inlined as the codec's `read` is.
    #[inline(always)]
    pub(super) fn extract<R: Inbound + ?Sized>(&self, request: &R) -> (Option<Extracted>, Place) {
        let found = self.propagation.extract(request.fields());
        let came = |found: &Option<Extracted>| found.as_ref().is_some_and(|found| found.context.is_some());
        let beside = request.beside().filter(|beside| beside.first || !came(&found));
        let Some(beside) = beside else { return (found, Place::default()) };
        let other = self.propagation.extract(&beside.fields);
        if came(&found) && !came(&other) {
            return (found, Place::default());
        }
        (other, Place(Some((beside.place, beside.decides))))
    }
}

impl Place {
    /// Whether its sampling counts, and it may be a parent.
    pub(super) fn decides(self) -> bool {
        self.0.is_none_or(|(_, decides)| decides)
    }

    /// What a link to the context says of it.
    pub(super) fn attributes(self) -> impl Iterator<Item = KeyValue> {
        let undecided = (!self.decides()).then(|| KeyValue::new(key::CONTEXT_UNDECIDED, true));
        self.0.map(|(place, _)| KeyValue::new(key::CONTEXT_PLACE, place)).into_iter().chain(undecided)
    }
}
