//! Strings: whole values.

use super::{Family, Requests, STRINGS, VALUES, request, two};
use crate::random::Random;

/// The family.
pub const FAMILY: Family = Family {
    name: "strings",
    summary: "SET in all its forms, GETSET, GETDEL, APPEND, SETRANGE, BITFIELD, MSET and reads",
    draw,
};

const WORDS: &[&str] = &["abc", "-x", "yz"];

fn draw(random: &mut Random) -> Requests {
    let key = *random.pick(STRINGS);
    let value = *random.pick(VALUES);
    let ms = random.between(200, 4000).to_string();
    let letter = (b'a' + random.below(26) as u8).to_string();
    vec![match random.below(18) {
        0..4 => request(&["SET", key, value]),
        4 => request(&["SET", key, value, "PX", &ms]),
        5 => request(&["SET", key, value, "KEEPTTL"]),
        6 => request(&["SET", key, value, "NX"]),
        7 => request(&["SET", key, value, "XX", "GET"]),
        8 => request(&["GETSET", key, value]),
        9 => request(&["GETDEL", key]),
        // Words only: digits put together by chance would be numbers longer than the oracle counts with.
        10 => request(&["APPEND", key, *random.pick(WORDS)]),
        11 => request(&["SETRANGE", key, &random.below(5).to_string(), *random.pick(WORDS)]),
        12 => {
            let (first, second) = two(random, STRINGS);
            request(&["MSET", first, value, second, *random.pick(VALUES)])
        }
        13 => request(&["STRLEN", key]),
        14 | 15 => request(&["BITFIELD", key, "SET", "u8", &format!("#{}", random.below(6)), &letter]),
        16 => request(&["MGET", "s1", "s2", "k"]),
        _ => request(&["GET", key]),
    }]
}
