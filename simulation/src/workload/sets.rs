//! Sets: members that come and go.

use super::{Family, NAMES, Requests, SETS, request, two};
use crate::random::Random;

/// The family.
pub const FAMILY: Family = Family { name: "sets", summary: "SADD, SREM, SPOP, SMOVE and reads", draw };

fn draw(random: &mut Random) -> Requests {
    let (key, member) = (*random.pick(SETS), *random.pick(NAMES));
    let (first, second) = two(random, NAMES);
    vec![match random.below(14) {
        0..4 => request(&["SADD", key, member]),
        4 => request(&["SADD", key, first, second]),
        5..7 => request(&["SREM", key, member]),
        7 => request(&["SREM", key, first, second]),
        8 => request(&["SPOP", key]),
        9 => {
            let (source, target) = two(random, SETS);
            request(&["SMOVE", source, target, member])
        }
        10 => request(&["SISMEMBER", key, member]),
        11 => request(&["SCARD", key]),
        _ => request(&["SMEMBERS", key]),
    }]
}
