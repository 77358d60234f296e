//! The ledger: what was produced, handled, settled and committed, and what follows from it.

mod checker;
mod entry;
mod file;
mod keys;
mod meta;
mod places;
mod row;

#[cfg(test)]
mod tests;

pub use checker::{check, entries};
pub use entry::{Entry, Ev};
pub use file::Ledger;
pub use meta::{Demands, Meta};
pub use row::Row;
