//! Texts that are kept for the life of the process.

use std::{
    borrow::Cow,
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

/// A span's name is `Cow<'static, str>`: unless it is static, each span copies it. Texts are kept for the life of the
/// process up to a bound that only a high-cardinality naming reaches; from then on they are copied.
pub(crate) fn intern(text: &str) -> Cow<'static, str> {
    const BOUND: usize = 4096;
    static TEXTS: Mutex<Option<HashSet<&'static str>>> = Mutex::new(None);
    let mut texts = TEXTS.lock().unwrap_or_else(PoisonError::into_inner);
    let texts = texts.get_or_insert_default();
    if let Some(known) = texts.get(text) {
        return Cow::Borrowed(known);
    }
    if texts.len() >= BOUND {
        return Cow::Owned(text.to_owned());
    }
    let kept: &'static str = Box::leak(text.into());
    texts.insert(kept);
    Cow::Borrowed(kept)
}
