//! Consumer groups: entries from all regions, read in all regions, some acknowledged at once, some later and out of order, and
//! some never; groups that are destroyed, made anew and set to other ids.

use super::{DELIVERED, Family, GROUPED, NAMES, REGROUPED, Requests, VALUES, request};
use crate::random::Random;

/// The family.
pub const FAMILY: Family = Family {
    name: "groups",
    summary: "XADD, XDEL, XTRIM, XGROUP CREATE, SETID and DESTROY, XREADGROUP with and without NOACK, XACK, XCLAIM, XAUTOCLAIM, \
              XPENDING",
    draw,
};

fn draw(random: &mut Random) -> Requests {
    let (key, field, value) = (*random.pick(GROUPED), *random.pick(NAMES), *random.pick(VALUES));
    let (consumer, count) = (*random.pick(NAMES), ["1", "2", "5"][random.below(3)]);
    let read = ["XREADGROUP", "GROUP", "g", consumer, "COUNT", count];
    let streams = ["STREAMS", key, ">"];
    vec![match random.below(40) {
        0..14 => request(&["XADD", key, "*", field, value]),
        14..17 => request(&["XGROUP", "CREATE", key, "g", ["0", "$"][random.below(2)], "MKSTREAM"]),
        17..22 => request(&[&read[..], &["NOACK"], &streams].concat()),
        22..28 => request(&[&read[..], &streams].concat()),
        28..32 => request(&["XACK", key, "g", DELIVERED]),
        32 => request(&["XAUTOCLAIM", key, "g", consumer, "0", "0", "COUNT", "3", "JUSTID"]),
        33 => request(&["XCLAIM", key, "g", consumer, "0", DELIVERED, "JUSTID"]),
        34 => request(&["XTRIM", key, "MAXLEN", "60"]),
        35 => request(&["XDEL", key, DELIVERED]),
        36 => request(&["XPENDING", key, "g", "-", "+", "100"]),
        37 if random.percent(30) => request(&["XGROUP", "DESTROY", *random.pick(REGROUPED), "g"]),
        37 => request(&["XPENDING", key, "g"]),
        38 if random.percent(60) => {
            let key = *random.pick(REGROUPED);
            request(&["XGROUP", "SETID", key, "g", ["0", "$", DELIVERED][random.below(3)]])
        }
        _ => request(&["XREADGROUP", "GROUP", "g", consumer, "STREAMS", key, "0"]),
    }]
}
