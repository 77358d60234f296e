//! The conformance suite and every scenario on a real Kafka.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says that it failed by a panic")]

mod a_broker_of_its_own_leaves_nothing_behind;
mod a_killed_worker_loses_nothing;
mod site;

pub(crate) use site::servers;

throughline_test::conformance!(site::Cluster::new());
throughline_tests::scenarios!(site::Cluster::new());
