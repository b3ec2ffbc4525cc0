//! The contract of the stores: every promise that `src/store/mod.rs` makes, held against SQLite and
//! against a real Postgres. What needs Postgres says so and is left out where it is not installed, unless
//! `NIXIE_REQUIRE_ALL=1`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod event;
mod operation;
mod order;
mod place;
mod plan;
mod privacy;
mod proof;
mod race;
mod retention;
mod server;
mod stage;
mod strike;
mod suppression;

use event::*;
use operation::*;
use order::*;
use privacy::*;
use proof::*;
use race::*;
use retention::*;
use strike::*;
use suppression::*;

/// Each test of the contract over each store.
macro_rules! contract {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::stage::Stage::sqlite()).await;
            })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if let Some(stage) = crate::stage::Stage::postgres(stringify!($name)) {
                    super::$name(stage).await;
                }
            })+
        }
    };
}

contract!(
    a_second_arrival_counts_nothing,
    duplicates_within_a_batch_count_once,
    an_event_keeps_all_it_says,
    what_violates_is_written_not_even_in_part,
    nul_is_taken_out,
    the_log_and_the_bounce_are_one_failure,
    a_queue_id_used_again_is_another_failure,
    a_report_is_known_by_the_message_that_left,
    a_report_that_comes_first_is_proved_later,
    signed_messages_are_remembered_for_a_time,
    a_token_proves_its_own_recipient,
    a_token_of_several_proves_whom_it_went_to,
    only_what_may_be_true_waits_for_proof,
    evidence_does_what_its_trust_may,
    what_waits_for_proof_is_let_go_of,
    echoes_are_counted_and_not_kept,
    lanes_come_back_as_they_were,
    suppressions_are_written_once,
    an_expired_suppression_is_replaced,
    adding_keeps_what_is_there,
    many_replace_what_has_expired,
    lists_are_filtered_and_paged,
    removing_leaves_its_trace,
    positions_and_domains_are_kept,
    unread_messages_are_kept_once,
    concurrent_commits_count_once,
    concurrent_tellers_of_a_failure_count_once,
    concurrent_signals_are_all_counted,
    the_feed_misses_nothing_and_never_looks_back,
    a_change_is_heard,
    all_is_there_after_opening_again,
    many_open_at_once,
    orders_stand_until_they_are_taken_back,
    who_ordered_what_stays,
    a_lane_is_cleared_and_what_it_was_stays,
    lanes_and_domains_are_in_the_feed,
    an_operation_is_taken_back_exactly,
    an_operation_is_told,
    a_large_operation_is_one_transaction,
    lists_are_filtered_by_source_stream_and_standing,
    the_schema_tells_its_steps,
    what_is_old_goes_and_counts_once_all_the_same,
    marks_counts_and_changes_go_by_their_time,
    days_are_made_ahead_and_dropped_whole,
    a_store_is_held_to_its_key,
    a_store_in_clear_stays_in_clear,
    who_is_forgotten_leaves_no_trace,
    a_hash_stays_where_it_is_asked_for,
    strikes_add_up_over_days,
    a_strike_a_day_however_many_tell,
    a_delivery_clears_and_lifts,
    what_stands_for_good_survives_deliveries,
    a_domain_falls_by_three_days,
    complaints_are_about_their_stream,
    further_entries_stand_longer,
    an_incident_quarantines_and_lets_go,
    a_late_report_tells_of_its_incident,
    time_settles_the_rest,
);
