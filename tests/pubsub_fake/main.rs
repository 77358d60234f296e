//! What neither the emulator nor the service can be made to do, on a fake of Pub/Sub's protocol: confirmations of
//! acknowledgements, flow control that is obeyed or broken, a stream that falls silent, resets, a server that answers
//! nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says that it failed by a panic")]

mod a_drain_is_exact;
mod a_drain_keeps_its_deadline;
mod a_refused_acknowledgement_is_told;
mod a_refused_dead_letter_holds_the_message;
mod a_refused_key_goes_on_in_order;
mod a_silent_stream_is_opened_anew;
mod a_taken_permission_is_named;
mod an_acknowledgement_that_fails_is_no_loss;
mod an_expired_token_is_renewed;
mod broken_streams_heal;
mod fake;
mod nacks_are_counted_where_the_service_counts_none;
mod no_users_span_is_in_the_metadata;
mod site;
mod the_client_alone;
mod what_is_leased_ahead_is_bounded;
mod what_is_under_way_is_bounded;

use throughline::{Message, State};
use throughline_tests::Told;

/// The payload.
fn text(message: &Message) -> String {
    String::from_utf8_lossy(message.payload()).into_owned()
}

/// Tells that a message came.
async fn note(message: Message, State(told): State<Told>) {
    told.tell(message);
}
