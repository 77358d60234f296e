//! The conformance suite and the scenarios that need no log, on a server that speaks the protocol of SQS.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says that it failed by a panic")]
#![allow(clippy::print_stdout, reason = "the rows are shown")]

mod a_context_is_found_wherever_it_is;
mod a_fifo_queue_keeps_its_order;
mod a_killed_server_heals;
mod a_killed_worker_loses_nothing;
mod a_queue_comes_back;
mod a_redrive_policy_keeps_the_trace;
mod a_slow_handler_keeps_its_lease;
mod a_stop_leaves_nothing_hidden;
mod bad_messages_cost_little;
mod limits_hold_on_the_wire;
mod one_bad_body_fails_alone;
mod requests_are_few;
mod site;
mod spans_name_queue_and_request;

throughline_test::conformance!(site::Account::new());
throughline_tests::scenarios_anywhere!(site::Account::new());
throughline_tests::scenarios_at_once!(site::Account::new());
