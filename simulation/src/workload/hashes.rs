//! Hashes: fields that are set, counted and removed.

use super::{Family, HASHES, NAMES, Requests, VALUES, request, two};
use crate::random::Random;

/// The family.
pub const FAMILY: Family =
    Family { name: "hashes", summary: "HSET, HSETNX, HDEL, HINCRBY, HINCRBYFLOAT and all reads", draw };

fn draw(random: &mut Random) -> Requests {
    let (key, field, value) = (*random.pick(HASHES), *random.pick(NAMES), *random.pick(VALUES));
    vec![match random.below(20) {
        0..3 => request(&["HSET", key, field, value]),
        3 => {
            let (first, second) = two(random, NAMES);
            request(&["HSET", key, first, value, second, *random.pick(VALUES)])
        }
        4 => request(&["HSETNX", key, field, value]),
        5..7 => request(&["HDEL", key, field]),
        7 => {
            let (first, second) = two(random, NAMES);
            request(&["HDEL", key, first, second])
        }
        8..11 => request(&["HINCRBY", key, field, &random.between(1, 9).to_string()]),
        11 => request(&["HINCRBYFLOAT", key, field, "0.25"]),
        12 => request(&["HGET", key, field]),
        13 => request(&["HLEN", key]),
        14 => {
            let (first, second) = two(random, NAMES);
            request(&["HMGET", key, first, second])
        }
        15 => request(&[["HKEYS", "HVALS"][random.below(2)], key]),
        16 => request(&[["HEXISTS", "HSTRLEN"][random.below(2)], key, field]),
        17 => request(&["HRANDFIELD", key]),
        _ => request(&["HGETALL", key]),
    }]
}
