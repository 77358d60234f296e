//! What must hold on every broker, as scenarios over exported spans.
//!
//! Each scenario is a `pub async fn` over any [`Site`], in a file that is named after what it shows. A test binary per
//! broker implements [`Site`] and makes tests of them all with [`scenarios!`]; what a broker does beside that is in the
//! binary's own folder.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a scenario says that it failed by a panic"
)]

pub mod a_batch_is_one_call;
pub mod a_batch_that_fails_is_taken_apart;
pub mod a_dead_letter_is_the_message_as_it_came;
pub mod a_dead_letter_keeps_the_creation_context;
pub mod a_drain_loses_nothing;
pub mod a_full_stack_is_waited_for;
pub mod a_hop_is_linked;
pub mod a_killed_worker_loses_nothing;
pub mod a_panic_costs_one_message;
pub mod a_permanent_failure_stops_nobody;
pub mod a_poison_message_is_parked;
pub mod a_refused_dead_letter_holds_the_message;
pub mod a_spawned_task_keeps_the_trace;
pub mod a_users_actor_keeps_the_trace;
pub mod a_users_buffer_keeps_the_trace;
mod agreement;
pub mod an_outage_heals;
pub mod an_undecodable_payload_goes_the_failure_way;
pub mod an_unknown_topic_is_a_typed_error;
pub mod bad_contexts_start_anew;
pub mod global;
pub mod hostile_headers_harm_nothing;
mod inbox;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod keys_keep_their_order;
pub mod keys_need_not_be_text;
pub mod metrics_say_what_the_spans_say;
pub mod nothing_stuck_stops_the_rest;
pub mod one_relation_a_worker;
pub mod only_the_prefix_is_committed;
pub mod pause_is_not_shutdown;
pub mod pipeline;
pub mod probes_say_what_is;
mod process;
pub mod raw_headers_are_the_producers;
mod rows;
mod sends;
mod site;
mod stage;
mod steps;
pub mod the_trace_survives_a_nack;
pub mod the_trace_survives_a_restart;
pub mod the_trace_survives_retry;
pub mod tracing_spans_nest_both_ways;
pub mod unsampled_stays_unsampled;
mod wait;
pub mod without_an_sdk_the_context_passes;
mod work;
mod workforce;

pub use inbox::{Inbox, Told};
pub use process::{Ended, WorkerProcess, resident_of};
pub use rows::{Run, by_tier};
pub use sends::{Sends, Tellable, send_until_over};
pub use site::Site;
pub use stage::Stage;
pub use wait::{LONG, eventually, until, within};
pub use work::work;
pub use workforce::{Workforce, publish_numbers};

macro_rules! list {
    ($name:ident: $($file:ident: $($scenario:ident)+;)+) => {
        /// Makes a test of each of these scenarios. The expression gives a [`Site`]; it may `.await`.
        #[macro_export]
        macro_rules! $name {
            ($site:expr) => {
                $($(
                    #[test]
                    fn $scenario() {
                        throughline_test::conformance::run(async {
                            $crate::$file::$scenario(&$site).await;
                        });
                    }
                )+)+
            };
        }
    };
}

/// Makes a test of each scenario. The expression gives a [`Site`] on a log; it may `.await`.
#[macro_export]
macro_rules! scenarios {
    ($site:expr) => {
        $crate::scenarios_anywhere! { $site }
        $crate::scenarios_at_once! { $site }
        $crate::scenarios_on_a_log! { $site }
    };
}

list! { scenarios_anywhere:
    a_batch_is_one_call: messages_without_a_context_are_in_batches_too;
    a_dead_letter_keeps_the_creation_context: a_failure_on_another_thread_leaves_its_dead_letter_in_the_trace;
    a_drain_loses_nothing: a_stop_in_the_middle_is_exact;
    a_full_stack_is_waited_for:
        nothing_is_called_before_it_is_ready
        a_limit_in_the_stack_holds;
    a_hop_is_linked: two_workers_in_a_chain_are_one_pipeline;
    a_panic_costs_one_message: one_percent_of_the_handlers_panic;
    a_permanent_failure_stops_nobody:
        failing_messages_of_their_own_keys_stop_no_good_one
        failing_messages_without_an_order_stop_no_good_one;
    a_poison_message_is_parked: two_bad_messages_among_ten_thousand_are_set_aside;
    a_spawned_task_keeps_the_trace:
        a_send_from_another_task_or_thread_stays_in_the_trace
        layers_that_change_the_task_cut_nothing;
    a_users_actor_keeps_the_trace: a_send_inside_an_actor_is_below_the_message;
    a_users_buffer_keeps_the_trace: buffers_around_handler_and_publisher_cut_nothing;
    an_undecodable_payload_goes_the_failure_way: discarded_only_on_request;
    an_unknown_topic_is_a_typed_error: worker_and_publisher_name_the_topic;
    nothing_stuck_stops_the_rest: a_stuck_handler_stops_no_other;
    one_relation_a_worker: parent_and_link_is_one_trace;
    pause_is_not_shutdown:
        an_idle_worker_is_paused_and_resumes
        a_running_handler_keeps_its_message_while_paused
        a_paused_worker_drains
        a_pause_while_backing_off_holds;
    probes_say_what_is: liveness_and_readiness_follow_the_state;
    raw_headers_are_the_producers: the_accessor_gives_the_process_context;
    the_trace_survives_a_restart:
        a_stack_that_fails_is_built_again
        a_stack_that_panics_is_built_again;
    the_trace_survives_retry:
        each_try_is_linked_to_the_one_before
        only_the_failure_that_surfaces_is_an_error;
    tracing_spans_nest_both_ways:
        a_log_span_is_between_process_and_send
        a_log_filter_cuts_nothing;
    unsampled_stays_unsampled:
        two_hops_record_nothing_and_pass_it_on
        a_sampled_state_comes_through_two_hops;
    without_an_sdk_the_context_passes:
        no_sdk_passes_it_on
        a_provider_that_was_shut_down_passes_it_on;
}

// What no broker shows that keeps back what is behind another of its key, or has no strict order for what comes again.
list! { scenarios_at_once:
    a_drain_loses_nothing: a_handler_that_does_not_end_is_cut_off_and_comes_again;
}

// What names partitions and offsets, headers that only a log carries as they are, or delays below a second.
list! { scenarios_on_a_log:
    a_batch_is_one_call:
        a_batch_closes_by_number_and_by_time
        batches_of_a_partition_come_in_order
        a_batch_links_to_each_send;
    a_batch_that_fails_is_taken_apart:
        a_nacked_message_holds_the_commit_below_it
        what_cannot_be_decoded_is_set_apart
        of_a_batch_that_fails_only_the_cause_is_put_aside
        of_a_batch_that_panics_only_the_cause_is_put_aside
        a_retry_tries_the_batch_again
        layers_go_around_a_batch
        a_wrong_number_of_answers_acknowledges_nothing
        a_drain_closes_a_half_full_batch;
    a_dead_letter_is_the_message_as_it_came: headers_come_through_two_dead_letters_byte_for_byte;
    a_refused_dead_letter_holds_the_message: nothing_is_acknowledged_before_the_dead_letter_is_accepted;
    an_undecodable_payload_goes_the_failure_way: without_dead_letters_it_is_held_and_named;
    bad_contexts_start_anew:
        without_a_context_a_trace_begins
        a_malformed_context_counts_as_absent
        of_several_contexts_the_last_valid_one_counts;
    hostile_headers_harm_nothing: every_message_is_delivered_whatever_its_headers;
    keys_keep_their_order: a_key_is_handled_in_order_while_some_are_tried_again;
    keys_need_not_be_text: equal_bytes_are_a_lane_and_null_is_none;
    metrics_say_what_the_spans_say:
        a_delivery_counts_once_however_it_ends
        lag_is_measured_by_partition;
    nothing_stuck_stops_the_rest:
        a_stuck_partition_stops_no_other
        a_stuck_key_stops_no_other;
    one_relation_a_worker: an_old_message_is_only_linked_to;
    only_the_prefix_is_committed:
        one_failure_among_ten_holds_the_commit
        what_failed_comes_again_after_a_restart;
    the_trace_survives_a_nack: each_delivery_is_one_linked_process_span;
}
