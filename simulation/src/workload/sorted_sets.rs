//! Sorted sets: members whose scores are set, counted and removed. All sums of the scores are doubles.

use super::{Family, NAMES, Requests, SORTED_SETS, request, two};
use crate::random::Random;

/// The family.
pub const FAMILY: Family = Family { name: "sorted sets", summary: "ZADD, ZINCRBY, ZREM, ZPOPMIN and reads", draw };

const SCORES: &[&str] = &["0", "1", "-3", "2.5", "40", "0.125"];

fn draw(random: &mut Random) -> Requests {
    let (key, member, score) = (*random.pick(SORTED_SETS), *random.pick(NAMES), *random.pick(SCORES));
    let (first, second) = two(random, NAMES);
    vec![match random.below(16) {
        0..3 => request(&["ZADD", key, score, member]),
        3 => request(&["ZADD", key, score, first, *random.pick(SCORES), second]),
        4..8 => request(&["ZINCRBY", key, *random.pick(SCORES), member]),
        8..10 => request(&["ZREM", key, member]),
        10 => request(&["ZREM", key, first, second]),
        11 => request(&["ZPOPMIN", key]),
        12 => request(&["ZSCORE", key, member]),
        13 => request(&["ZCARD", key]),
        _ => request(&["ZRANGE", key, "0", "-1", "WITHSCORES"]),
    }]
}
