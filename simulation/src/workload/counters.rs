//! Counters: strings that hold numbers.

use super::{COUNTERS, Family, Requests, request};
use crate::random::Random;

/// The family.
pub const FAMILY: Family =
    Family { name: "counters", summary: "INCR, DECR, INCRBY, DECRBY, INCRBYFLOAT, resets by SET and DEL, reads", draw };

/// What floats are added: some have no exact binary form.
const FLOATS: &[&str] = &["0.5", "0.1", "-2.25", "3.000001", "-0.1", "10"];

fn draw(random: &mut Random) -> Requests {
    let key = *random.pick(COUNTERS);
    let amount = random.between(1, 100).to_string();
    vec![match random.below(20) {
        0..6 => request(&["INCR", key]),
        6..8 => request(&["DECR", key]),
        8..12 => request(&["INCRBY", key, &amount]),
        12 => request(&["DECRBY", key, &amount]),
        13..15 => request(&["INCRBYFLOAT", key, *random.pick(FLOATS)]),
        15 => request(&["SET", key, &amount]),
        16 if random.percent(40) => request(&["DEL", key]),
        _ => request(&["GET", key]),
    }]
}
