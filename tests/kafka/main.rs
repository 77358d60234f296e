//! The conformance suite and every scenario on a real Kafka.

mod a_killed_worker_loses_nothing;
mod site;

pub(crate) use site::servers;

throughline_test::conformance!(site::Cluster::new());
throughline_tests::scenarios!(site::Cluster::new());
