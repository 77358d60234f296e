//! Clones of what is shared with another thread, made ahead.

/// How many are made in one go.
const AHEAD: usize = 64;

/// A value that is counted, and clones of it. What the poll thread hands out one at a time the worker's thread drops
/// one at a time: cloned singly, the count would go from core to core and back for every record.
#[derive(Debug)]
pub(crate) struct Stock<T> {
    value: T,
    clones: Vec<T>,
}

impl<T: Clone> Stock<T> {
    pub(crate) const fn new(value: T) -> Self {
        Stock { value, clones: Vec::new() }
    }

    #[inline]
    pub(crate) fn take(&mut self) -> T {
        if self.clones.is_empty() {
            self.clones.resize(AHEAD, self.value.clone());
        }
        self.clones.pop().unwrap_or_else(|| self.value.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn every_clone_counts_and_none_outlives_the_stock() {
        let value = Arc::new(());
        let mut stock = Stock::new(value.clone());
        let taken: Vec<_> = (0..2 * AHEAD + 1).map(|_| stock.take()).collect();
        assert!(taken.iter().all(|clone| Arc::ptr_eq(clone, &value)));
        assert!(Arc::strong_count(&value) > 2 + taken.len(), "made ahead");
        drop((stock, taken));
        assert_eq!(Arc::strong_count(&value), 1);
    }
}
