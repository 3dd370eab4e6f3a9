//! Keys as wholes: removed, renamed, copied, moved, and whole databases emptied.

use super::{Family, MIXED, PLACED, Requests, SETS, SKETCHES, STRINGS, request, two};
use crate::random::Random;

/// The family.
pub const FAMILY: Family = Family {
    name: "keys",
    summary: "DEL, UNLINK, RENAME, RENAMENX, COPY, MOVE, FLUSHDB, FLUSHALL, EXISTS, TOUCH and TYPE",
    draw,
};

fn draw(random: &mut Random) -> Requests {
    let keys = *random.pick(&[MIXED, STRINGS, SETS, SKETCHES, PLACED]);
    let (first, second) = two(random, keys);
    let other = if random.percent(50) { "0" } else { "1" };
    vec![match random.below(20) {
        0..4 => request(&["DEL", first]),
        4 => request(&["DEL", first, second]),
        5..8 => request(&["RENAME", first, second]),
        8 => request(&["RENAMENX", first, second]),
        9..11 => request(&["COPY", first, second, "REPLACE"]),
        11 => request(&["COPY", first, second]),
        // A move to the database where the key is already is a mistake that changes nothing.
        12 => request(&["COPY", first, second, "DB", other, "REPLACE"]),
        13 => request(&["TYPE", first]),
        14 if random.percent(40) => request(&["FLUSHDB"]),
        15 if random.percent(20) => request(&["FLUSHALL"]),
        16 => request(&["UNLINK", first]),
        17 => request(&["TOUCH", first, second]),
        _ => request(&["EXISTS", first, second]),
    }]
}
