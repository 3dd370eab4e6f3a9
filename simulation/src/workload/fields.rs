//! Fields that end: set, lifted, kept and asked for, on the hashes that others write. All ends are soon, so that they come
//! during the run.

use super::{Family, HASHES, NAMES, Requests, VALUES, request};
use crate::random::Random;

/// The family.
pub const FAMILY: Family = Family {
    name: "fields",
    summary: "HPEXPIRE, HPERSIST, HSETEX, HGETEX, HGETDEL and HPEXPIRETIME, and what else hashes are written and read with",
    draw,
};

fn draw(random: &mut Random) -> Requests {
    let (key, field, value) = (*random.pick(HASHES), *random.pick(NAMES), *random.pick(VALUES));
    let ms = random.between(100, 4000).to_string();
    vec![match random.below(16) {
        0..4 => request(&["HPEXPIRE", key, &ms, "FIELDS", "1", field]),
        4 | 5 => request(&["HPERSIST", key, "FIELDS", "1", field]),
        6 | 7 => request(&["HSETEX", key, "PX", &ms, "FIELDS", "1", field, value]),
        8 => request(&["HSETEX", key, "KEEPTTL", "FIELDS", "1", field, value]),
        9 => request(&["HGETEX", key, "PX", &ms, "FIELDS", "1", field]),
        10 => request(&["HGETDEL", key, "FIELDS", "1", field]),
        11 => request(&["HSET", key, field, value]),
        12 => request(&["HINCRBY", key, field, &random.between(1, 9).to_string()]),
        13 => request(&["HLEN", key]),
        14 => request(&["HGETALL", key]),
        _ => request(&["HPEXPIRETIME", key, "FIELDS", "1", field]),
    }]
}
