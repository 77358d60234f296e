//! The conformance suite, the scenarios that need no log, and what is Pub/Sub's own, on Google's emulator.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says that it failed by a panic")]
#![allow(clippy::print_stdout, reason = "the rows are shown")]

mod a_dead_letter_has_a_hundred_attributes;
mod a_frozen_server_heals;
mod a_key_goes_on_after_an_error;
mod a_key_goes_on_behind_its_dead_letter;
mod a_killed_worker_loses_nothing;
mod a_slow_handler_keeps_its_lease;
mod a_subscription_comes_back;
mod googles_clients_and_we_are_one_trace;
mod googles_clients_read_our_context;
mod relay;
mod site;

throughline_test::conformance!(site::Project::new());
throughline_tests::scenarios_anywhere!(site::Project::new());
// Not `scenarios_at_once`: what is behind a running message of its key waits with the adapter, where no worker counts it, and
// the emulator brings back the two in either order. That a handler which does not end is cut off, and its message comes again,
// is shown on the fake.
