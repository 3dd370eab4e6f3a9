//! Streams: generated and given ids, capped streams, deletions, and what is said of a stream as a whole.

use super::{Family, NAMES, Requests, STREAMS, VALUES, request};
use crate::random::Random;

/// The family.
pub const FAMILY: Family = Family {
    name: "streams",
    summary: "XADD with given and generated ids and with trimming, XDEL, XTRIM, XSETID, XRANGE, XREAD",
    draw,
};

fn draw(random: &mut Random) -> Requests {
    let (key, field, value) = (*random.pick(STREAMS), *random.pick(NAMES), *random.pick(VALUES));
    // Few enough that regions choose the same ones.
    let ms = (1 + random.below(300)).to_string();
    let id = format!("{ms}-1");
    match random.below(23) {
        0..4 => vec![request(&["XADD", key, "*", field, value])],
        4..7 => vec![request(&["XADD", key, &id, field, value])],
        7..9 => vec![request(&["XADD", key, &format!("{ms}-*"), field, value])],
        9 => vec![request(&["XADD", key, "MAXLEN", ["0", "2", "4"][random.below(3)], "*", field, value])],
        10 => vec![request(&["XADD", key, "NOMKSTREAM", &id, field, value, "x", "y"])],
        11..13 => vec![request(&["XDEL", key, &id, &format!("{}-1", 1 + random.below(300))])],
        13 => vec![request(&["XTRIM", key, "MAXLEN", ["0", "1", "3"][random.below(3)]])],
        14 => vec![request(&["XTRIM", key, "MINID", &ms])],
        15 => match random.below(6) {
            0 => vec![request(&["XSETID", key, "300-1", "ENTRIESADDED", "1000"])],
            1 => vec![request(&["XSETID", key, &id])],
            _ => vec![request(&["DEL", key])],
        },
        16 => vec![request(&["XLEN", key])],
        17 => vec![request(&["XREVRANGE", key, "+", "-", "COUNT", "2"])],
        18 => vec![request(&["XADD", key, "MINID", &ms, "*", field, value])],
        19 => vec![request(&["XREAD", "COUNT", "2", "STREAMS", key, &id])],
        20 => vec![request(&["XRANGE", key, &id, "+"])],
        _ => vec![request(&["XRANGE", key, "-", "+"])],
    }
}
