//! One suite that every broker adapter passes.
//!
//! The cases here drive an adapter through the contracts of `throughline-core` alone, by hand and with a
//! [`Demand`](throughline_core::Demand) of their own. Each is a `pub async fn` that panics with what it saw, so that
//! one alone can be run; [`conformance!`](crate::conformance!) makes a test of each:
//!
//! ```
//! use throughline_core::Error;
//! use throughline_memory::{Memory, MemorySink, MemorySubscription};
//! use throughline_test::conformance::{Broker, Features, Start};
//!
//! struct Embedded(Memory);
//!
//! impl Broker for Embedded {
//!     type Subscription = MemorySubscription;
//!     type Sink = MemorySink;
//!
//!     fn features(&self) -> Features {
//!         Features { transactions: false, ..Features::ALL }
//!     }
//!     async fn create_topic(&self, name: &str, partitions: u32) -> Result<(), Error> {
//!         self.0.create_topic(name, partitions)
//!     }
//!     fn subscription(&self, topic: &str, group: &str, start: Start) -> MemorySubscription {
//!         let start = match start {
//!             Start::Earliest => throughline_memory::Start::Earliest,
//!             Start::Latest => throughline_memory::Start::Latest,
//!         };
//!         self.0.subscribe(topic).group(group).start(start)
//!     }
//!     fn sink(&self, topic: &str) -> MemorySink {
//!         self.0.topic(topic)
//!     }
//! }
//!
//! throughline_test::conformance!(Embedded(Memory::new().retain(true)));
//! ```
//!
//! What a broker cannot do it says in its [`Features`]; the case is then named on stderr and counted by
//! [`skipped`], never passed in silence.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a case of a test kit says that it failed by a panic"
)]

mod broker;
mod content;
mod demand;
mod features;
mod member;
mod order;
mod position;
mod publish;
mod run;
mod settling;

pub use broker::{Broker, Start};
pub use content::{content_comes_back_byte_for_byte, origin_and_receipt_agree};
pub use demand::{
    a_blocked_partition_is_held_back_alone, a_paused_worker_gets_nothing_and_resumes,
    no_more_is_handed_over_than_there_is_room_for, stopping_ends_the_source,
};
pub use features::{Features, skipped};
pub use order::{a_key_keeps_its_order, a_partition_keeps_its_order};
pub use position::{a_group_begins_where_it_is_told, groups_do_not_take_from_each_other};
pub use publish::{
    an_unknown_topic_is_not_found, everything_that_was_published_arrives_once, flush_leaves_nothing_behind,
};
pub use run::run;
pub use settling::{
    a_nacked_message_comes_again_after_its_delay, a_rejected_message_does_not_come_again,
    acknowledged_messages_do_not_come_again, only_the_done_prefix_is_committed,
    unsettled_messages_come_again,
};

/// Makes a test of each case of the [conformance suite](mod@crate::conformance).
///
/// The expression gives a [`Broker`](crate::conformance::Broker), a new one or a handle of a running one; it may
/// `.await`. The tests run on a runtime of their own and need nothing of the crate that they are in.
#[macro_export]
macro_rules! conformance {
    ($broker:expr) => {
        $crate::conformance! { @each $broker;
            everything_that_was_published_arrives_once
            an_unknown_topic_is_not_found
            flush_leaves_nothing_behind
            content_comes_back_byte_for_byte
            origin_and_receipt_agree
            a_partition_keeps_its_order
            a_key_keeps_its_order
            acknowledged_messages_do_not_come_again
            unsettled_messages_come_again
            only_the_done_prefix_is_committed
            a_nacked_message_comes_again_after_its_delay
            a_rejected_message_does_not_come_again
            no_more_is_handed_over_than_there_is_room_for
            a_blocked_partition_is_held_back_alone
            a_paused_worker_gets_nothing_and_resumes
            stopping_ends_the_source
            groups_do_not_take_from_each_other
            a_group_begins_where_it_is_told
        }
    };
    (@each $broker:expr; $($case:ident)*) => {
        $(
            #[test]
            fn $case() {
                $crate::conformance::run(async { $crate::conformance::$case(&$broker).await });
            }
        )*
    };
}
