//! Strings: whole values.

use super::{Family, Requests, STRINGS, VALUES, request, two};
use crate::random::Random;

/// The family.
pub const FAMILY: Family = Family {
    name: "strings",
    summary: "SET in all its forms, SETNX, PSETEX, MSETNX, GETSET, GETDEL, GETEX, APPEND, SETRANGE, SETBIT, BITFIELD, BITOP, MSET \
              and reads",
    draw,
};

const WORDS: &[&str] = &["abc", "-x", "yz"];

fn draw(random: &mut Random) -> Requests {
    let key = *random.pick(STRINGS);
    let value = *random.pick(VALUES);
    let ms = random.between(200, 4000).to_string();
    let letter = (b'a' + random.below(26) as u8).to_string();
    vec![match random.below(30) {
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
        17..20 => {
            // Never the highest bit of a byte: what comes of it is text.
            let bit = 8 * random.below(6) + 1 + random.below(7);
            request(&["SETBIT", key, &bit.to_string(), ["0", "1"][random.below(2)]])
        }
        20 => {
            // The lower half of a byte.
            let half = format!("#{}", 1 + 2 * random.below(5));
            request(&["BITFIELD", key, "INCRBY", "u4", &half, &random.between(1, 7).to_string()])
        }
        21 => {
            let (first, second) = two(random, STRINGS);
            request(&["BITOP", ["AND", "OR", "XOR"][random.below(3)], key, first, second])
        }
        22 => request(&["SETNX", key, value]),
        23 => request(&["PSETEX", key, &ms, value]),
        24 => {
            let (first, second) = two(random, STRINGS);
            request(&["MSETNX", first, value, second, *random.pick(VALUES)])
        }
        25 if random.percent(50) => request(&["GETEX", key, "PX", &ms]),
        25 => request(&["GETEX", key, "PERSIST"]),
        26 => request(&["GETRANGE", key, "1", "-2"]),
        27 if random.percent(50) => request(&["BITCOUNT", key]),
        27 => request(&["GETBIT", key, &random.below(48).to_string()]),
        _ => request(&["GET", key]),
    }]
}
