//! Sorted sets: members whose scores are set, counted and removed. All sums of the scores are doubles.

use super::{Family, NAMES, Requests, SORTED_SETS, request, two};
use crate::random::Random;

/// The family.
pub const FAMILY: Family = Family {
    name: "sorted sets",
    summary: "ZADD in all its forms, ZINCRBY, ZREM, ZPOPMIN, ZPOPMAX, ZMPOP, ZREMRANGEBYSCORE, ZREMRANGEBYRANK, ZUNIONSTORE, \
              ZINTERSTORE, ZDIFFSTORE, ZRANGESTORE and reads",
    draw,
};

const SCORES: &[&str] = &["0", "1", "-3", "2.5", "40", "0.125"];

fn draw(random: &mut Random) -> Requests {
    let (key, member, score) = (*random.pick(SORTED_SETS), *random.pick(NAMES), *random.pick(SCORES));
    let (first, second) = two(random, NAMES);
    vec![match random.below(32) {
        0..3 => request(&["ZADD", key, score, member]),
        3 => request(&["ZADD", key, score, first, *random.pick(SCORES), second]),
        4..8 => request(&["ZINCRBY", key, *random.pick(SCORES), member]),
        8..10 => request(&["ZREM", key, member]),
        10 => request(&["ZREM", key, first, second]),
        11 => request(&["ZPOPMIN", key]),
        12 => request(&["ZSCORE", key, member]),
        13 => request(&["ZCARD", key]),
        14..17 => request(&["ZADD", key, ["NX", "XX", "GT", "LT"][random.below(4)], "CH", score, member]),
        17 => request(&["ZADD", key, ["NX", "XX", "GT", "LT"][random.below(4)], "INCR", score, member]),
        18 => request(&["ZPOPMAX", key]),
        19 => {
            let (one, other) = two(random, SORTED_SETS);
            request(&["ZMPOP", "2", one, other, ["MIN", "MAX"][random.below(2)], "COUNT", "2"])
        }
        20 => request(&["ZREMRANGEBYSCORE", key, "-3", score]),
        21 => request(&["ZREMRANGEBYRANK", key, "0", "1"]),
        22..25 => {
            let (one, other) = two(random, SORTED_SETS);
            request(&[["ZUNIONSTORE", "ZINTERSTORE", "ZDIFFSTORE"][random.below(3)], key, "2", one, other])
        }
        25 => {
            let (one, other) = two(random, SORTED_SETS);
            request(&["ZRANGESTORE", one, other, "1", "2"])
        }
        26 => request(&[["ZRANK", "ZREVRANK"][random.below(2)], key, member]),
        27 => request(&["ZCOUNT", key, "-3", score]),
        28 => request(&["ZRANGEBYSCORE", key, "-3", score, "WITHSCORES"]),
        _ => request(&["ZRANGE", key, "0", "-1", "WITHSCORES"]),
    }]
}
