//! Strict W3C Trace Context and Baggage over [`Extract`] and [`Inject`].
//!
//! Anything malformed counts as absent and never harms the message. An exact name counts before one in another case,
//! and of several values the last valid one; an invalid `traceparent` drops `tracestate`. The CloudEvents extension
//! attributes `ce_traceparent` and `ce_tracestate` are read if there is nothing better, and never written.

mod baggage;
mod traceparent;
mod tracestate;

use bytes::Bytes;
use opentelemetry::{
    baggage::Baggage,
    trace::{SpanContext, TraceState},
};
use std::ops::ControlFlow;
use throughline_core::{Extract, Inject};
use traceparent::TraceParent;

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
const BAGGAGE: &str = "baggage";
const CE_TRACEPARENT: &str = "ce_traceparent";
const CE_TRACESTATE: &str = "ce_tracestate";

/// What [`extract`] found.
#[derive(Debug, Default)]
pub struct Extracted {
    /// The remote context, if there was a valid one.
    pub context: Option<SpanContext>,
    /// The baggage, if there was any.
    pub baggage: Option<Baggage>,
    /// Whether a `traceparent` was there and none was valid.
    pub invalid: bool,
}

/// The `traceparent` of a context, to be kept under another name.
pub fn traceparent(context: &SpanContext) -> String {
    traceparent::format(context).iter().map(|&byte| char::from(byte)).collect()
}

/// Reads all fields in one pass, the last one first, and stops as soon as nothing better can come.
///
/// ```
/// use throughline_core::Headers;
/// use throughline_trace::codec;
///
/// let mut headers = Headers::new();
/// headers.set("traceparent", &b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"[..]);
/// let found = codec::extract(&headers);
/// assert!(found.context.is_some_and(|context| context.is_remote() && context.is_sampled()));
/// ```
pub fn extract(fields: &(impl Extract + ?Sized)) -> Extracted {
    read(fields, true, true).unwrap_or_default()
}

/// Reads what is wanted of the two formats; `None` if no field is one of theirs.
// A message and a batch call it; unless it is inlined in both, neither sees through the `dyn`: 60 instructions a message.
#[inline(always)]
pub(crate) fn read(fields: &(impl Extract + ?Sized), context: bool, baggage: bool) -> Option<Extracted> {
    let mut found: Option<Fields<'_>> = None;
    fields.visit(&mut |name, value| {
        // The length tells nearly every other header apart: most messages of those who do not trace have none of ours.
        if !matches!(name.len(), 7 | 10 | 11 | 13 | 14) {
            return ControlFlow::Continue(());
        }
        found.get_or_insert_with(|| Fields::wanted(context, baggage)).see(name, value)
    });
    found.as_mut().map(Fields::finish)
}

/// Writes the context in place of every earlier one; an invalid context writes nothing.
///
/// ```
/// use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
/// use throughline_core::Headers;
/// use throughline_trace::codec;
///
/// let context =
///     SpanContext::new(TraceId::from(1), SpanId::from(2), TraceFlags::SAMPLED, false, TraceState::NONE);
/// let mut headers = Headers::new();
/// codec::inject(&context, &mut headers);
/// assert_eq!(headers.get("traceparent").unwrap().len(), 55);
/// assert_eq!(headers.get("tracestate"), None, "never an empty value");
/// ```
pub fn inject(context: &SpanContext, fields: &mut dyn Inject) {
    if !context.is_valid() {
        return;
    }
    fields.set(TRACEPARENT, Bytes::copy_from_slice(&traceparent::format(context)));
    match tracestate::format(context.trace_state()) {
        Some(state) => fields.set(TRACESTATE, Bytes::from(state)),
        None => fields.remove(TRACESTATE),
    }
}

/// Writes the baggage in place of every earlier one, as far as the limits of W3C Baggage go (64 members, 8192 bytes;
/// whole members only); without a member it writes nothing.
pub fn inject_baggage(baggage: &Baggage, fields: &mut dyn Inject) {
    if let Some(text) = baggage::format(baggage) {
        fields.set(BAGGAGE, Bytes::from(text));
    }
}

/// Removes the baggage that came along with a forwarded message.
pub(crate) fn remove_baggage(fields: &mut dyn Inject) {
    fields.remove(BAGGAGE);
}

/// What one field says, as far as it was seen.
struct Field<T> {
    found: Option<T>,
    /// Nothing more is wanted: it was found under its exact name.
    closed: bool,
    /// Bytes that may still be looked at: many long and broken values must not cost more than one.
    budget: usize,
}

struct Fields<'a> {
    parent: Field<TraceParent>,
    state: Field<&'a str>,
    baggage: Field<Baggage>,
    ce_parent: Option<TraceParent>,
    ce_state: Field<&'a str>,
    parent_seen: bool,
}

impl<T> Field<T> {
    #[inline]
    fn new(wanted: bool, budget: usize) -> Self {
        // What is not wanted must not be waited for.
        Field { found: None, closed: !wanted, budget }
    }

    #[inline]
    fn see<'a>(
        &mut self,
        exact: bool,
        value: &'a [u8],
        cost: usize,
        parse: impl FnOnce(&'a [u8]) -> Option<T>,
    ) {
        if self.closed || (!exact && self.found.is_some()) {
            return;
        }
        let Some(budget) = self.budget.checked_sub(cost) else { return };
        self.budget = budget;
        if let Some(value) = parse(value) {
            (self.found, self.closed) = (Some(value), exact);
        }
    }
}

/// Whether both are the same letters in any case, and then whether in the same one; `letters` are 8 to 16 lowercase
/// ones, and both are of one length. Setting the bit of lower case turns nothing but a letter into that letter.
#[inline]
fn same_letters(name: &str, letters: &str) -> Option<bool> {
    const LOWER: u64 = 0x2020_2020_2020_2020;
    let ends = |text: &str| {
        let (first, last) = (text.as_bytes().first_chunk::<8>()?, text.as_bytes().last_chunk::<8>()?);
        Some((u64::from_ne_bytes(*first), u64::from_ne_bytes(*last)))
    };
    let (name, letters) = (ends(name)?, ends(letters)?);
    ((name.0 | LOWER, name.1 | LOWER) == letters).then_some(name == letters)
}

impl<'a> Fields<'a> {
    #[inline]
    fn wanted(context: bool, baggage: bool) -> Self {
        Fields {
            parent: Field::new(context, usize::MAX),
            state: Field::new(context, tracestate::MAX_BYTES),
            baggage: Field::new(baggage, baggage::MAX_BYTES),
            ce_parent: None,
            ce_state: Field::new(true, tracestate::MAX_BYTES),
            parent_seen: false,
        }
    }

    #[inline]
    fn see(&mut self, name: &'a str, value: &'a [u8]) -> ControlFlow<()> {
        // A few words tell the names of a length apart.
        match name.len() {
            11 => {
                let Some(exact) = same_letters(name, TRACEPARENT) else { return ControlFlow::Continue(()) };
                self.parent_seen = true;
                self.parent.see(exact, value, 0, traceparent::parse);
            }
            10 => {
                let Some(exact) = same_letters(name, TRACESTATE) else { return ControlFlow::Continue(()) };
                self.state.see(exact, value, tracestate::cost(value), tracestate::check);
            }
            7 if name.eq_ignore_ascii_case(BAGGAGE) => {
                let cost = value.len().min(baggage::MAX_BYTES);
                self.baggage.see(name == BAGGAGE, value, cost, baggage::parse);
            }
            14 if name == CE_TRACEPARENT && self.ce_parent.is_none() => {
                self.parent_seen = true;
                self.ce_parent = traceparent::parse(value);
            }
            13 if name == CE_TRACESTATE => {
                self.ce_state.see(true, value, tracestate::cost(value), tracestate::check);
            }
            _ => return ControlFlow::Continue(()),
        }
        if self.parent.closed && self.state.closed && self.baggage.closed {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    // By reference: it is too large to be moved for nothing.
    #[inline]
    fn finish(&mut self) -> Extracted {
        let wanted = !self.parent.closed || self.parent.found.is_some();
        let (parent, state) = match self.parent.found {
            None if wanted => (self.ce_parent, self.ce_state.found),
            found => (found, self.state.found),
        };
        let context = parent.map(|parent| {
            let state = state.map_or(TraceState::NONE, tracestate::parse);
            SpanContext::new(parent.trace, parent.span, parent.flags, true, state)
        });
        Extracted {
            invalid: wanted && self.parent_seen && context.is_none(),
            context,
            baggage: self.baggage.found.take(),
        }
    }
}
