//! What a broker can do, and what is left out where it cannot.

use std::sync::atomic::{AtomicUsize, Ordering};

static SKIPPED: AtomicUsize = AtomicUsize::new(0);

/// What a broker and its adapter can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// A message can be given back for later.
    pub delay: bool,
    /// A message says how often it was delivered.
    pub delivery_count: bool,
    /// Messages of one key come in the order in which they were sent.
    pub order_by_key: bool,
    /// There are partitions, and the messages of one come in the order in which they were sent.
    pub order_by_partition: bool,
    /// A message can be refused for good.
    pub reject: bool,
    /// What was refused can be kept elsewhere.
    pub dead_letter: bool,
    /// Each group gets everything; without groups, whoever receives takes from all others.
    pub groups: bool,
    /// A group can begin elsewhere than at the oldest message.
    pub start_position: bool,
    /// Messages and commits can be made visible at once or not at all.
    pub transactions: bool,
}

impl Features {
    /// Everything.
    pub const ALL: Features = Features {
        delay: true,
        delivery_count: true,
        order_by_key: true,
        order_by_partition: true,
        reject: true,
        dead_letter: true,
        groups: true,
        start_position: true,
        transactions: true,
    };

    /// Names and answers, in a fixed order.
    pub fn table(&self) -> [(&'static str, bool); 9] {
        [
            ("delay", self.delay),
            ("delivery_count", self.delivery_count),
            ("order_by_key", self.order_by_key),
            ("order_by_partition", self.order_by_partition),
            ("reject", self.reject),
            ("dead_letter", self.dead_letter),
            ("groups", self.groups),
            ("start_position", self.start_position),
            ("transactions", self.transactions),
        ]
    }

    /// The names of what it cannot do.
    pub fn missing(&self) -> impl Iterator<Item = &'static str> {
        self.table().into_iter().filter(|(_, has)| !has).map(|(name, _)| name)
    }
}

/// How many cases and parts of cases were left out in this process.
pub fn skipped() -> usize {
    SKIPPED.load(Ordering::Acquire)
}

/// Says that something is left out, and counts it.
#[allow(clippy::print_stderr, reason = "whoever runs the tests must see what they did not show")]
pub(super) fn skip(case: &str, why: &str) {
    SKIPPED.fetch_add(1, Ordering::AcqRel);
    eprintln!("conformance: skipped `{case}`: {why}");
}
