//! Random histories, type by type and all together.

use crate::generator::{Profile, script};
use crate::random::{Random, check_script, for_seeds};
use crate::world::World;
use crdt::STAMP_EPOCH_MS;

/// An ordinary day.
const TODAY_MS: u64 = STAMP_EPOCH_MS + 200_000_000_000;

fn check(name: &str, seeds: u64, profile: &Profile, start: u64) {
    for_seeds(name, seeds, |seed| {
        let mut random = Random::new(seed);
        let steps = random.between(5, 120);
        let profile = Profile { replicas: 2 + seed as usize % 3, ..*profile };
        check_script(script(&mut random, &profile, steps), |script| World::play(&profile, start, script));
    });
}

#[test]
fn a_string_is_the_latest_write_that_nobody_observed_and_removed() {
    check("a_string_is", 40, &Profile::REGISTERS, TODAY_MS);
}

#[test]
fn a_string_is_what_its_writes_make_in_the_order_of_their_stamps() {
    check("a_string_is_what_its_writes", 150, &Profile::PATCHES, TODAY_MS);
}

#[test]
fn a_counter_is_the_sum_of_all_increments_that_no_reset_observed() {
    check("a_counter_is", 60, &Profile::COUNTERS, TODAY_MS);
}

#[test]
fn a_sum_beyond_64_bits_shows_the_nearest_integer_and_comes_back() {
    check("a_sum_beyond", 20, &Profile::WIDE_COUNTERS, TODAY_MS);
}

#[test]
fn a_hash_keeps_every_field_that_no_removal_observed() {
    check("a_hash_keeps", 60, &Profile::HASHES, TODAY_MS);
}

#[test]
fn an_add_wins_over_a_concurrent_remove() {
    check("an_add_wins", 50, &Profile::SETS, TODAY_MS);
}

#[test]
fn a_list_is_what_was_put_into_it_in_one_order_everywhere() {
    check("a_list_is_what", 120, &Profile::LISTS, TODAY_MS);
    check("a_list_is_what", 50, &Profile::LIVES_OF_LISTS, TODAY_MS);
}

#[test]
fn a_stream_holds_each_id_once_and_every_entry_that_no_removal_observed() {
    check("a_stream_holds", 150, &Profile::STREAMS, TODAY_MS);
    check("a_stream_holds", 60, &Profile::LIVES_OF_STREAMS, TODAY_MS);
}

#[test]
fn a_score_is_the_latest_one_set_and_every_increment_that_no_reset_observed() {
    check("a_score_is", 80, &Profile::SORTED_SETS, TODAY_MS);
}

#[test]
fn the_longest_life_wins() {
    check("the_longest_life", 50, &Profile::LIVES, TODAY_MS);
    check("the_longest_life", 50, &Profile::LIVES_OF_SETS, TODAY_MS);
}

#[test]
fn the_longest_life_of_a_field_wins() {
    check("the_longest_life_of_a_field", 150, &Profile::FIELD_LIVES, TODAY_MS);
    check("the_longest_life_of_a_field", 100, &Profile::FIELD_LIVES_AND_MORE, TODAY_MS);
}

#[test]
fn fields_that_end_come_back_as_they_were() {
    let profile = Profile { clears: 0, transfers: false, restarts: 5, ..Profile::FIELD_LIVES_AND_MORE };
    check("fields_that_end_come_back", 60, &profile, TODAY_MS);
    let profile = Profile { clears: 0, renumberings: 2, ..Profile::FIELD_LIVES_AND_MORE };
    check("fields_that_end_come_back", 60, &profile, TODAY_MS);
}

#[test]
fn of_two_types_the_one_with_the_latest_standing_stamp_is_shown() {
    check("of_two_types", 60, &Profile::KINDS, TODAY_MS);
}

#[test]
fn a_cleared_database_keeps_what_the_clear_did_not_observe() {
    check("a_cleared_database", 12, &Profile::CLEARS, TODAY_MS);
}

#[test]
fn a_copy_holds_what_was_observed() {
    check("a_copy_holds", 50, &Profile::COPIES, TODAY_MS);
}

#[test]
fn everything_together_converges_to_what_the_specification_says() {
    check("everything_together", 80, &Profile::ALL_BUT_CLEARS, TODAY_MS);
}

#[test]
fn everything_together_converges_with_clears_of_databases_too() {
    check("everything_together_converges_with", 12, &Profile::ALL, TODAY_MS);
}

#[test]
fn replicas_that_come_back_are_what_they_were_or_learn_it_again() {
    check("replicas_that_come_back", 50, &Profile::RESTARTS, TODAY_MS);
}

#[test]
fn increments_count_once_whatever_life_of_a_replica_made_them() {
    check("increments_count_once", 60, &Profile::COUNTER_RESTARTS, TODAY_MS);
}

#[test]
fn a_replica_that_changes_its_number_changes_nothing_else() {
    check("a_replica_that_changes", 40, &Profile::RENUMBERINGS, TODAY_MS);
}

#[test]
fn words_of_stamps_beyond_31_32_and_53_bits_change_nothing() {
    // A stamp's word has the milliseconds above its 23 lowest bits: clocks begin just before each border.
    for border in [31, 32, 53, 63] {
        let start = STAMP_EPOCH_MS + (1 << (border - 23)) - 30;
        check("words_of_stamps", 8, &Profile { skew: 20, ..Profile::ALL_BUT_CLEARS }, start & !1);
    }
}
