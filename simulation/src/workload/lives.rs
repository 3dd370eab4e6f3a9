//! Lives: deadlines set, lifted and asked for, on keys of all types. All are short, so that they end during the run.

use super::{COUNTERS, Family, HASHES, MIXED, Requests, SETS, SKETCHES, STRINGS, request};
use crate::random::Random;

/// The family.
pub const FAMILY: Family = Family {
    name: "lives",
    summary: "EXPIRE and PEXPIRE with and without conditions, PERSIST, TTL and PTTL on all types",
    draw,
};

fn draw(random: &mut Random) -> Requests {
    let keys = *random.pick(&[MIXED, STRINGS, COUNTERS, HASHES, SETS, SKETCHES]);
    let key = *random.pick(keys);
    vec![match random.below(11) {
        0..2 => request(&["EXPIRE", key, &random.between(1, 4).to_string()]),
        2..5 => request(&["PEXPIRE", key, &random.between(100, 4000).to_string()]),
        5..7 => request(&["PERSIST", key]),
        7 => request(&["TTL", key]),
        8 | 9 => {
            let condition = ["NX", "XX", "GT", "LT"][random.below(4)];
            request(&["PEXPIRE", key, &random.between(100, 4000).to_string(), condition])
        }
        _ => request(&["PEXPIRETIME", key]),
    }]
}
