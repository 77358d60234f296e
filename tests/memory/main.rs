//! The conformance suite and every scenario on the embedded broker.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says that it failed by a panic")]

mod a_runtime_needs_no_worker;
mod a_status_is_waited_for;
mod site;
mod the_tower_contract_holds;

use site::Embedded;

throughline_test::conformance!(Embedded::new());
throughline_tests::scenarios!(Embedded::new());
