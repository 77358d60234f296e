//! Consuming from a real broker, one file a behaviour.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says that it failed by a panic")]

#[path = "../common/mod.rs"]
mod common;

mod a_group_begins_where_it_is_told;
mod a_missing_topic_stops_no_other;
mod a_position_that_is_not_told_is_waited_for;
mod a_topic_made_anew_is_read_from_its_start;
mod members_agree_how_to_share;
mod members_are_told_of_their_partitions;
mod the_commit_reaches_the_end_of_the_log;
mod the_lag_is_told;
mod topics_may_be_a_pattern;
mod two_members_of_one_identity;
mod what_is_gone_is_passed_over_aloud;
