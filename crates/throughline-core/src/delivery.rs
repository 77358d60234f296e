//! A message handed to us.

use crate::{Lease, Message, PartitionIndex};

/// A message that a broker handed to us: owed exactly one settlement.
///
/// Dropped unsettled it is given back (see [`Settler`](crate::Settler)), never acknowledged.
#[derive(Debug)]
pub struct Delivery<Z> {
    /// What came.
    pub message: Message,
    /// Who takes the answer.
    pub settler: Z,
    /// Whether it is still ours.
    pub lease: Lease,
    /// Which of the source's partitions it came from.
    pub partition: PartitionIndex,
}

impl<Z> Delivery<Z> {
    /// A delivery whose lease cannot be lost, of a broker without partitions.
    pub fn new(message: Message, settler: Z) -> Self {
        Delivery { message, settler, lease: Lease::forever(), partition: PartitionIndex::default() }
    }
}
