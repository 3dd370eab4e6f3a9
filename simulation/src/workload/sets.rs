//! Sets: members that come and go.

use super::{Family, NAMES, Requests, SETS, request, two};
use crate::random::Random;

/// The family.
pub const FAMILY: Family = Family {
    name: "sets",
    summary: "SADD, SREM, SPOP, SMOVE, SINTERSTORE, SUNIONSTORE, SDIFFSTORE and all reads",
    draw,
};

fn draw(random: &mut Random) -> Requests {
    let (key, member) = (*random.pick(SETS), *random.pick(NAMES));
    let (first, second) = two(random, NAMES);
    vec![match random.below(22) {
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
        12 => request(&["SPOP", key, "2"]),
        13..16 => {
            let (one, other) = two(random, SETS);
            request(&[["SINTERSTORE", "SUNIONSTORE", "SDIFFSTORE"][random.below(3)], key, one, other])
        }
        16 | 17 => {
            let (one, other) = two(random, SETS);
            request(&[["SINTER", "SUNION", "SDIFF"][random.below(3)], one, other])
        }
        18 => request(&["SMISMEMBER", key, first, second]),
        19 => request(&["SRANDMEMBER", key]),
        _ => request(&["SMEMBERS", key]),
    }]
}
