//! Sketches: HyperLogLogs over few elements, which they count exactly.

use super::{Family, Requests, SKETCHED, SKETCHES, request, two};
use crate::random::Random;

/// The family.
pub const FAMILY: Family =
    Family { name: "sketches", summary: "PFADD, PFMERGE, PFCOUNT, and now and then a text or nothing instead", draw };

fn draw(random: &mut Random) -> Requests {
    let (key, (first, second)) = (*random.pick(SKETCHES), two(random, SKETCHES));
    let element = |random: &mut Random| random.pick(SKETCHED).0;
    vec![match random.below(20) {
        0..6 => request(&["PFADD", key, element(random)]),
        6..8 => request(&["PFADD", key, element(random), element(random)]),
        8 => request(&["PFADD", key]),
        9..12 => request(&["PFMERGE", first, second]),
        12 => request(&["PFMERGE", first, second, key]),
        13 => request(&["DEL", key]),
        14 if random.percent(30) => request(&["SET", key, "abc"]),
        15 => request(&["PFCOUNT", first, second]),
        _ => request(&["PFCOUNT", key]),
    }]
}
