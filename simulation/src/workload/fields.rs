//! Fields that end: set, lifted, kept and asked for, on the hashes that others write. All ends are soon, so that they come
//! during the run.

use super::{Family, HASHES, NAMES, Requests, VALUES, request, two};
use crate::random::Random;

/// The family.
pub const FAMILY: Family = Family {
    name: "fields",
    summary: "HEXPIRE and HPEXPIRE with and without conditions, HPERSIST, HSETEX and HGETEX in all their forms, HGETDEL, HTTL, HPTTL and \
              HPEXPIRETIME, and what else hashes are written and read with",
    draw,
};

fn draw(random: &mut Random) -> Requests {
    let (key, field, value) = (*random.pick(HASHES), *random.pick(NAMES), *random.pick(VALUES));
    let (first, second) = two(random, NAMES);
    let ms = random.between(100, 4000).to_string();
    vec![match random.below(24) {
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
        15..17 => {
            let condition = ["NX", "XX", "GT", "LT"][random.below(4)];
            request(&["HPEXPIRE", key, &ms, condition, "FIELDS", "2", first, second])
        }
        17 => request(&["HEXPIRE", key, &random.between(1, 4).to_string(), "FIELDS", "1", field]),
        18 => request(&[
            "HSETEX",
            key,
            ["FNX", "FXX"][random.below(2)],
            "PX",
            &ms,
            "FIELDS",
            "2",
            first,
            value,
            second,
            value,
        ]),
        19 => request(&["HGETEX", key, "PERSIST", "FIELDS", "1", field]),
        20 => request(&["HGETDEL", key, "FIELDS", "2", first, second]),
        21 => request(&[["HTTL", "HPTTL"][random.below(2)], key, "FIELDS", "2", first, second]),
        _ => request(&["HPEXPIRETIME", key, "FIELDS", "1", field]),
    }]
}
