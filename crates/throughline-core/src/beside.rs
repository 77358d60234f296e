//! A trace context that came with a message, and not in its headers.

use crate::Headers;

/// Propagation fields that a broker carried elsewhere than in a message's headers: in an envelope around the payload, or
/// in a field of its own. An adapter leaves them in the message's extensions; they count where the headers say nothing, or
/// before them if it says so.
#[derive(Clone, Debug)]
pub struct ContextBeside {
    /// The fields, as headers.
    pub fields: Headers,
    /// Where they were, in one lower-case word (`sns`, `xray`): the link to such a context says so.
    pub place: &'static str,
    /// Whether who wrote them is a producer of ours to follow. A context that an infrastructure adds by itself is not:
    /// it is linked to, is never a parent, and an unsampled one decides nothing.
    pub decides: bool,
    /// Whether they count before the headers, if they hold a valid context.
    pub first: bool,
}
