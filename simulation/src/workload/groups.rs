//! Consumer groups: entries from all regions, read in all regions, some acknowledged at once and some not yet.

use super::{Family, GROUPED, NAMES, Requests, VALUES, request};
use crate::random::Random;

/// The family.
pub const FAMILY: Family = Family {
    name: "groups",
    summary: "XADD, XGROUP CREATE, XREADGROUP with and without NOACK, XAUTOCLAIM, XPENDING",
    draw,
};

fn draw(random: &mut Random) -> Requests {
    let (key, field, value) = (*random.pick(GROUPED), *random.pick(NAMES), *random.pick(VALUES));
    let (consumer, count) = (*random.pick(NAMES), ["1", "2", "5"][random.below(3)]);
    let read = ["XREADGROUP", "GROUP", "g", consumer, "COUNT", count];
    let streams = ["STREAMS", key, ">"];
    match random.below(20) {
        0..8 => vec![request(&["XADD", key, "*", field, value])],
        8..10 => vec![request(&["XGROUP", "CREATE", key, "g", ["0", "$"][random.below(2)], "MKSTREAM"])],
        10..14 => vec![request(&[&read[..], &["NOACK"], &streams].concat())],
        14..17 => vec![request(&[&read[..], &streams].concat())],
        17 => vec![request(&["XAUTOCLAIM", key, "g", consumer, "0", "0", "COUNT", "3", "JUSTID"])],
        18 => vec![request(&["XTRIM", key, "MAXLEN", "60"])],
        _ => vec![request(&["XPENDING", key, "g"])],
    }
}
