//! The conformance suite and every scenario on a real Kafka, and what is shown on Kafka alone.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says that it failed by a panic")]
#![allow(clippy::print_stdout, reason = "figures are shown")]

mod a_broker_of_its_own_leaves_nothing_behind;
mod a_frozen_broker_does_not_hold_up_the_end;
mod a_group_that_may_not_change_its_protocol;
mod a_killed_worker_loses_nothing;
mod a_long_handler_keeps_its_partition;
#[cfg(feature = "tls")]
mod a_refused_connection_says_what_is_wrong;
#[cfg(feature = "tls")]
mod a_secured_broker;
mod a_static_member_is_one;
mod a_storm_of_rebalances_loses_nothing;
mod a_wrong_clock_harms_nothing;
mod commits_have_spans_on_request;
mod keys_keep_their_order_over_members;
mod members_that_join_lose_nothing;
mod odd_times_harm_nothing;
mod offsets_that_expired_are_told;
mod partitions_that_move;
mod what_is_sent_is_seen_exactly_once;

use throughline_tests::kafka::Cluster;

throughline_test::conformance!(Cluster::new());
throughline_tests::scenarios!(Cluster::new());
