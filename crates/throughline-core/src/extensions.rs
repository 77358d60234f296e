//! Typed values that travel with a message inside this process.

use std::{any::Any, fmt, sync::Arc};

/// Values by type, shared by all clones of a message and never sent to a broker.
///
/// A persistent list: inserting is one allocation, cloning one reference count, and a clone does not see what is
/// inserted into another clone later. The value inserted last wins.
#[derive(Clone, Default)]
pub struct Extensions(Option<Arc<Node<dyn Any + Send + Sync>>>);

struct Node<T: ?Sized> {
    next: Extensions,
    value: T,
}

impl Extensions {
    /// Puts a value in front; an earlier one of the same type is hidden.
    pub fn insert<T: Any + Send + Sync>(&mut self, value: T) {
        let next = std::mem::take(self);
        self.0 = Some(Arc::new(Node { next, value }));
    }

    /// Takes the value that was inserted last away, if it is of this type; says whether it was.
    pub fn pop<T: Any + Send + Sync>(&mut self) -> bool {
        let next = match &self.0 {
            Some(node) if node.value.is::<T>() => node.next.clone(),
            _ => return false,
        };
        *self = next;
        true
    }

    /// The value of this type that was inserted last.
    pub fn get<T: Any + Send + Sync>(&self) -> Option<&T> {
        let mut at = self.0.as_deref();
        while let Some(node) = at {
            if let Some(value) = node.value.downcast_ref() {
                return Some(value);
            }
            at = node.next.0.as_deref();
        }
        None
    }
}

// A long list must not be dropped by recursion: each node that we alone hold gives up its tail first.
impl Drop for Extensions {
    #[inline]
    fn drop(&mut self) {
        if let Some(first) = self.0.take() {
            unlink(first);
        }
    }
}

fn unlink(first: Arc<Node<dyn Any + Send + Sync>>) {
    let mut next = Some(first);
    while let Some(mut node) = next {
        next = Arc::get_mut(&mut node).and_then(|node| node.next.0.take());
    }
}

impl fmt::Debug for Extensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Extensions")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_of_a_type_wins_and_clones_are_independent() {
        let mut a = Extensions::default();
        a.insert(1_u8);
        let b = a.clone();
        a.insert(2_u8);
        a.insert("text");
        assert_eq!((a.get::<u8>(), b.get::<u8>()), (Some(&2), Some(&1)));
        assert_eq!((a.get::<&str>(), b.get::<&str>()), (Some(&"text"), None));
    }

    #[test]
    fn only_the_last_value_is_taken_away_and_only_from_this_clone() {
        let mut a = Extensions::default();
        a.insert(1_u8);
        a.insert("text");
        let b = a.clone();
        assert!(!a.pop::<u8>() && a.pop::<&str>() && a.pop::<u8>() && !a.pop::<u8>());
        assert_eq!((a.get::<&str>(), b.get::<&str>()), (None, Some(&"text")));
    }

    #[test]
    fn a_long_list_is_dropped_without_recursion() {
        let mut list = Extensions::default();
        for n in 0..1_000_000_u32 {
            list.insert(n);
        }
        drop(list);
    }
}
