//! The conformance suite and every scenario on the embedded broker.

mod site;
mod the_tower_contract_holds;

use site::Embedded;

throughline_test::conformance!(Embedded::new());
throughline_tests::scenarios!(Embedded::new());
